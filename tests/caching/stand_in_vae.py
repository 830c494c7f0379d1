"""A small VAE that behaves as real ones do: rows do not depend on each other, counted pictures; and images for it."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from library.caching.latent_encoding import LatentEncoder
from library.caching.latent_pictures import LatentPicture, pictures_of
from library.caching.latents_in_memory import DTYPE as IN_MEMORY
from library.caching.latents_on_disk import DTYPE as ON_DISK
from library.caching.latents_on_disk import encode_on_disk, fingerprints_of
from library.dataset.buckets.aspect_buckets import cover
from library.dataset.images.picture_files import FilePictures
from library.dataset.records import Dataset, ImageRecord
from library.models.family import SD1
from library.models.latent_codec import LatentMoments, NonFiniteLatentsError
from library.options.dataset_settings import DatasetSettings, SubsetSettings

CPU = torch.device("cpu")
SEED = 5
TOO_RED = (255, 0, 0)
"""A picture of this colour has no finite latents."""
TOO_BRIGHT = (255, 255, 255)
"""A picture of this colour has latents that do not fit into float16."""


@dataclass
class StandInVae:
    """What a cache needs of a ModelAdapter."""

    seconds_each: float = 0.0
    """that a picture takes, as on another device"""
    family = SD1
    calls: list[int] = field(default_factory=list)
    """pictures of each call"""

    @property
    def encoded(self) -> int:
        return sum(self.calls)

    def views(self):
        return SimpleNamespace(vae=torch.nn.Linear(2, 2))

    def encode_images(self, pixels: torch.Tensor, posterior_draws: torch.Tensor) -> torch.Tensor:
        moments = self.latent_moments(pixels)
        return moments.mean + moments.deviation * posterior_draws

    def latent_moments(self, pixels: torch.Tensor) -> LatentMoments:
        assert pixels.dtype == torch.uint8
        self.calls.append(len(pixels))
        if self.seconds_each:
            time.sleep(self.seconds_each * len(pixels))
        broken = (pixels == torch.tensor(TOO_RED).view(3, 1, 1)).flatten(1).all(1)
        if broken.any():
            raise NonFiniteLatentsError(broken.nonzero().flatten().tolist())
        cells = avg_pool2d(pixels.float(), 8) / 64 - 2
        mean = torch.cat((cells, cells.mean(1, keepdim=True)), dim=1)
        mean[(pixels == 255).flatten(1).all(1)] *= 1e6
        mean = mean.contiguous(memory_format=torch.channels_last)  # as convolutions may leave it
        return LatentMoments(mean, (mean.cos().abs() + 0.1) / 10)


def paint(path: Path, seed: int = 0, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = len(mode)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    Image.fromarray(pixels, mode).save(path)
    return path


def paint_one_colour(path: Path, colour: tuple[int, int, int]) -> Path:
    Image.new("RGB", (64, 64), colour).save(path)
    return path


def dataset_in(folder: Path, bucket: tuple[int, int] = (64, 64), masks: Path | None = None, **rules) -> Dataset:
    """All images below a folder."""
    subset = SubsetSettings(image_dir=folder, **rules)
    records = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg", ".webp")):
        try:
            size = Image.open(path).size
        except OSError:
            size = (64, 64)  # damaged since it was listed
        records.append(
            ImageRecord(
                0, 0, path.relative_to(folder).as_posix(), path, size, cover(size, bucket), "", 1, is_reg=False,
                alpha_mask=subset.alpha_mask, mask_path=None if masks is None else masks / path.name,
            )
        )  # fmt: skip
    return Dataset(DatasetSettings(subsets=(subset,)), tuple(records))


def pictures_in(folder: Path, **options) -> list[LatentPicture]:
    return pictures_of([dataset_in(folder, **options)])


def encoder_of(vae: StandInVae, **options) -> LatentEncoder:
    defaults = {"reader": FilePictures(), "device": CPU, "batch_size": 2, "dtype": IN_MEMORY}
    return LatentEncoder(vae, **{**defaults, **options})


def encode(cache: Path, pictures: list[LatentPicture], vae: StandInVae | None = None, encoder=None, **options):
    """On the disk. Returns the latents and the VAE."""
    vae = vae or StandInVae()
    careful = encoder_of(vae, dtype=ON_DISK, **(encoder or {}))
    latents = encode_on_disk(careful, pictures, fingerprints_of(careful, pictures), cache, **options)
    return latents, vae


def fetch(latents, pictures: list[LatentPicture]):
    """Of pictures of one size."""
    return latents.fetch([picture.key for picture in pictures], SD1.latents.shape(pictures[0].view.placement.bucket))
