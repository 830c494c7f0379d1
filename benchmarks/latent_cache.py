"""What the cache of latents costs: at start-up, while training, and while it is built.

python benchmarks/latent_cache.py FOLDER

The folder is filled with images, of which later calls make use again. See README.md.
"""

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image

from benchmarks.process_memory import forget_highest, memory_of
from library.caching.cache_folder import CacheFolder
from library.caching.encoded_latents import EncodedLatents, EncodedPicture
from library.caching.latent_encoding import LatentEncoder
from library.caching.latent_pictures import LatentPicture, pictures_of
from library.caching.latents_on_disk import DTYPE, KIND, encode_on_disk, fingerprints_of
from library.caching.pack_writing import PackLimits, PackWriter
from library.dataset.augmentations.augmentation import show
from library.dataset.batch_plan import Exposure, PlannedBatch
from library.dataset.batches.batch_preparation import stack_pixels
from library.dataset.batches.cached_latents import LatentKey
from library.dataset.batches.draws import DrawRecipe, draw_for
from library.dataset.buckets.aspect_buckets import cover
from library.dataset.findings import Findings
from library.dataset.images.picture_files import FilePictures
from library.dataset.records import Dataset, ImageRecord
from library.models.family import SDXL
from library.options.command_line import build_parser
from library.options.dataset_settings import DatasetSettings, SubsetSettings
from library.options.resolution import resolve_options
from library.training.dataset_checks import check_datasets

CPU = torch.device("cpu")
FORMATS = ("jpg", "jpg", "png", "webp")
SIDES = (320, 384, 512, 640, 768)
TRAINED = (1024, 1024)
"""pixels: what is fetched and what is built"""
PHOTO = 1536
"""Pixels per side of the images from which that is built: they have to be made smaller."""
MEGABYTE = 10**6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--start", choices=("first", "second", "trusting"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.start:
        print(json.dumps(start_up(given.folder, trusts=given.start == "trusting")))
        return 0
    paint_images(given.folder / "images" / "1_photo", given.images, SIDES)
    paint_images(given.folder / "large" / "1_photo", 48, (PHOTO,))
    report_start_up(given.folder)
    report_fetching(given.folder / "fetching", given.rounds)
    report_building(given.folder, given.rounds)
    return 0


# ---- images


def paint_images(folder: Path, count: int, sides: tuple[int, ...]) -> None:
    """Photo-like: smooth shapes with some grain, in several formats and sizes, each with a caption."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(count) if not (folder / f"{number:05}.txt").exists()]
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(_paint, folder, sides), missing, chunksize=64))


def _paint(folder: Path, sides: tuple[int, ...], number: int) -> None:
    rng = np.random.default_rng(number)
    width, height = rng.choice(sides, 2).tolist()
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    grain = rng.integers(-6, 7, (height, width, 1))
    pixels = np.clip(np.asarray(coarse, np.int16) + grain, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / f"{number:05}.{FORMATS[number % len(FORMATS)]}")
    (folder / f"{number:05}.txt").write_text(f"photo, tag {number % 50}")


# ---- a stand-in for the model


@dataclass(frozen=True)
class StandInVae:
    """Takes a fixed time for each picture, without using a core, as a VAE on a GPU does."""

    seconds_each: float = 0.0
    family = SDXL

    def views(self) -> SimpleNamespace:
        return SimpleNamespace(vae=torch.nn.Identity())

    def encode_images(self, pixels: torch.Tensor, posterior_draws: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds_each * len(pixels))
        return posterior_draws


def encoder_of(vae: StandInVae, reader: FilePictures) -> LatentEncoder:
    return LatentEncoder(vae, reader, CPU, batch_size=1, dtype=DTYPE)


def build(pictures: list[LatentPicture], reader: FilePictures, vae: StandInVae, cache: Path, trusts: bool = False):
    encoder = encoder_of(vae, reader)
    fingerprints = fingerprints_of(encoder, pictures)
    reader.keep_facts()
    return encode_on_disk(encoder, pictures, fingerprints, cache, is_trusted=trusts)


# ---- start-up


def report_start_up(folder: Path) -> None:
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    print(f"{'start-up':>12}  scan s  cache s  peak MB beyond imports  of that anonymous")
    for start in ("first", "second", "second", "trusting"):
        command = [sys.executable, __file__, str(folder), "--start", start]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        print(
            f"{start:>12}  {said['scan']:6.2f}  {said['cache']:7.2f}  {said['highest'] / MEGABYTE:22.0f}  "
            f"{said['anonymous'] / MEGABYTE:17.0f}"
        )


def start_up(folder: Path, trusts: bool) -> dict[str, float]:
    """Seconds and bytes of everything between the imports and the first batch, but for the model."""
    options = [
        "--train_data_dir", folder / "images", "--cache_dir", folder / "cache", "--resolution", "512",
        "--enable_bucket", "--cache_latents_to_disk", "--caption_extension", ".txt",
        *(["--skip_cache_check"] if trusts else []),
    ]  # fmt: skip
    resolved = resolve_options(build_parser("sdxl_train_network.py", ""), [str(word) for word in options])
    forget_highest()
    before, start = memory_of(), time.perf_counter()
    data = check_datasets(resolved, SDXL, Findings(), lists_images=True)
    scanned = time.perf_counter()
    latents = build(pictures_of(data.datasets), data.pictures, StandInVae(), folder / "cache" / "latents", trusts)
    ready, after = time.perf_counter(), memory_of()
    assert len(latents.outcomes) == data.datasets[0].num_train_images
    return {
        "scan": scanned - start,
        "cache": ready - scanned,
        "highest": after.highest_resident - before.resident,
        "anonymous": after.anonymous - before.anonymous,
    }


# ---- fetching


def report_fetching(folder: Path, rounds: int, count: int = 1000) -> None:
    """Pictures of 1024x1024 pixels as SDXL's latents, from the page cache, in one thread."""
    torch.set_num_threads(1)
    shape = SDXL.latents.shape(TRAINED)
    latents, keys = _packed(folder / "packed", shape, count), [LatentKey(str(one), False) for one in range(count)]
    files = _npz_files(folder / "npz", shape, count)
    record = ImageRecord(0, 0, "", Path(), TRAINED, cover(TRAINED, TRAINED), "", 1, is_reg=False)
    ways: dict[str, tuple[int, Callable[[list[int]], object]]] = {
        "packed": (1, lambda chosen: latents.fetch([keys[one] for one in chosen], shape)),
        "packed, 4 at a time": (4, lambda chosen: latents.fetch([keys[one] for one in chosen], shape)),
        "npz": (1, lambda chosen: _load_npz(files[chosen[0]])),
        "noise": (1, lambda chosen: _draw_noise(record, chosen[0])),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        chosen = random.Random(number).sample(range(count), 200)
        for name, (at_once, fetch) in ways.items():
            start = time.perf_counter()
            for first in range(0, len(chosen), at_once):
                fetch(chosen[first : first + at_once])
            times[name].append((time.perf_counter() - start) / len(chosen))
    for name, seconds in times.items():
        ratio = statistics.median(ours / npz for ours, npz in zip(seconds, times["npz"], strict=True))
        print(f"{name:>20}: {statistics.median(seconds) * 1e3:7.4f} ms each, {ratio:.3f} of npz")


def _draw_noise(record: ImageRecord, exposure: int) -> None:
    batch = PlannedBatch((Exposure(record, exposure),), epoch=0, index=0, first_place=0)
    draw_for(batch, SDXL.latents, 0, DrawRecipe(), samples_posterior=False)


def _packed(folder: Path, shape: tuple[int, int, int], count: int) -> EncodedLatents:
    shutil.rmtree(folder, ignore_errors=True)
    cache = CacheFolder(folder, KIND)
    with PackWriter(cache, PackLimits()) as writer:
        for number in range(count):
            writer.put({str(number): _random(shape, number).half()})
    tensors = {name: tensor for file in cache.new_files(lambda file: True) for name, tensor in file.tensors.items()}
    outcomes = {LatentKey(name, False): EncodedPicture(tensor.numpy()) for name, tensor in tensors.items()}
    return EncodedLatents(outcomes, SDXL.latents.pixels_per_cell, resamples=False, dtype=DTYPE)


def _npz_files(folder: Path, shape: tuple[int, int, int], count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:05}.npz" for number in range(count)]
    for number, file in enumerate(files):
        _save_npz(file, _random(shape, number))
    return files


def _random(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _save_npz(file: Path, latents: torch.Tensor) -> None:
    """The arrays that kohya's sd-scripts keep of a picture."""
    np.savez(file, latents=latents.numpy(), original_size=np.array(TRAINED), crop_ltrb=np.array([0, 0, *TRAINED]))


def _load_npz(file: Path) -> torch.Tensor:
    arrays = np.load(file)
    original_size, crop = arrays["original_size"].tolist(), arrays["crop_ltrb"].tolist()
    assert original_size and crop
    return torch.stack([torch.FloatTensor(arrays["latents"])])


# ---- building


def report_building(folder: Path, rounds: int) -> None:
    pictures = pictures_of([_large_dataset(folder / "large" / "1_photo")])
    for cost in (0.010, 0.025, 0.050):
        figures = [_building_times(pictures, StandInVae(cost), folder) for _ in range(rounds)]
        ratios = [in_turn / built for in_turn, built in figures]
        each = statistics.median(built for _, built in figures) / len(pictures)
        print(
            f"building, {cost * 1e3:.0f} ms for encoding: {each * 1e3:.1f} ms for each image, "
            f"{statistics.median(ratios):.2f} times a sequential loop ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def _building_times(pictures: list[LatentPicture], vae: StandInVae, folder: Path) -> tuple[float, float]:
    """Seconds: in a sequential loop, and by us."""
    for name in ("turn", "built"):
        shutil.rmtree(folder / name, ignore_errors=True)
    start = time.perf_counter()
    _build_in_turn(pictures, vae, folder / "turn")
    middle = time.perf_counter()
    build(pictures, FilePictures(), vae, folder / "built")
    return middle - start, time.perf_counter() - middle


def _large_dataset(folder: Path) -> Dataset:
    paths = sorted(path for path in folder.iterdir() if path.suffix != ".txt")
    size = (PHOTO, PHOTO)
    placement = cover(size, TRAINED)
    records = [ImageRecord(0, 0, path.name, path, size, placement, "", 1, is_reg=False) for path in paths]
    return Dataset(DatasetSettings(subsets=(SubsetSettings(image_dir=folder),)), tuple(records))


def _build_in_turn(pictures: list[LatentPicture], vae: StandInVae, cache: Path) -> None:
    cache.mkdir()
    reader = FilePictures()
    for number, picture in enumerate(pictures):
        pixels = stack_pixels([show(reader.read(picture.record), picture.view)])
        draws = torch.randn((1, *SDXL.latents.shape(TRAINED)))
        _save_npz(cache / f"{number}.npz", vae.encode_images(pixels.to(CPU), draws)[0])


if __name__ == "__main__":
    sys.exit(main())
