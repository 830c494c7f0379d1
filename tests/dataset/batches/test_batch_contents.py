"""What batches show: masks, crops and their numbers, and what becomes of images that cannot be shown."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from library.dataset.batch_plan import PlannedBatch, batches_of_epoch
from library.dataset.batches.batch_preparation import BatchPreparer
from library.dataset.batches.cached_latents import CachedLatents
from library.dataset.batches.draws import DrawRecipe
from library.dataset.batches.training_batch import TrainingBatch
from library.dataset.findings import Findings
from library.dataset.images.picture_files import FilePictures
from library.dataset.records import Dataset
from library.dataset.scanning.scan import scan_dataset
from library.errors import UserError
from library.options.dataset_settings import DatasetSettings, SubsetSettings
from tests.dataset.batches.test_training_batches import LAYOUT, tokenize

SEED = 3

EARLIER = {
    "left 0": [0.471, 0.1858, -0.8816, 0.6416, 255.0],
    "left 1": [-0.1789, -1.0055, 0.3606, 0.3644, 16.0],
    "left 2": [-0.1483, 0.1877, 1.6146, 0.5897, 16.0],
    "plain 0": [0.2724, -0.3199, 0.0625, 0.033, 16.0],
    "plain 1": [0.0373, 1.0051, 0.0818, 0.2985, 79.0],
    "plain 2": [-0.0152, 0.0817, -1.7933, 0.3317, 79.0],
}
"""Of each exposure of an epoch one value of each draw, and its first pixel, which tells whether it was flipped."""


def preparer_of(dataset: Dataset, **changes) -> BatchPreparer:
    return replace(BatchPreparer((dataset,), SEED, LAYOUT, tokenize, 1.0, FilePictures()), **changes)


def dataset_of(folder: Path, masks: dict[str, Path] | None = None, **rules) -> Dataset:
    """All images of a folder, three times each, in batches of twelve pictures of 64 by 64 pixels."""
    subset = SubsetSettings(image_dir=folder, class_tokens="x", num_repeats=3, **rules)
    settings = DatasetSettings(resolution=(64, 64), batch_size=12, subsets=(subset,))
    dataset = scan_dataset(0, settings, Findings())
    records = tuple(replace(one, mask_path=(masks or {}).get(one.path.stem)) for one in dataset.records)
    return replace(dataset, records=records)


def batch_of(dataset: Dataset, epoch=0, **changes) -> tuple[PlannedBatch, TrainingBatch]:
    (planned,) = batches_of_epoch([dataset], SEED, epoch)
    return planned, preparer_of(dataset, **changes).prepare(planned)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Of 96x64 pixels: 'left' is opaque on its left only, 'plain' everywhere; brightness rises from left to right."""
    path = tmp_path / "Bilder mit Lücken"
    path.mkdir()
    colours = np.arange(96, dtype=np.uint8).reshape(1, 96, 1) * np.ones((64, 1, 3), np.uint8)
    alpha = np.where(np.arange(96) < 42, 255, 0).astype(np.uint8) * np.ones((64, 1), np.uint8)
    Image.fromarray(np.dstack([colours, alpha])).save(path / "left.png")
    Image.fromarray(colours).save(path / "plain.png")
    return path


def mask_row(planned: PlannedBatch, batch: TrainingBatch, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    row = next(row for row, one in enumerate(planned.exposures) if one.record.path.stem == name)
    return batch.masks[row], batch.pixels[row]


def test_masks_are_cropped_with_their_images(folder):
    """The crop of 64 pixels begins at 16: 26 of them are opaque, three cells and a quarter."""
    planned, batch = batch_of(dataset_of(folder, alpha_mask=True))
    assert (batch.masks.dtype, batch.masks.shape) == (torch.float32, (6, 8, 8))
    mask, pixels = mask_row(planned, batch, "left")
    assert mask[0].tolist() == [1, 1, 1, 0.25, 0, 0, 0, 0]
    assert (mask == mask[0]).all()
    assert pixels[0, 0].tolist() == list(range(16, 80)), "beneath transparent parts, too, is the colour that was stored"
    assert (mask_row(planned, batch, "plain")[0] == 1).all()


def test_without_alpha_mask_transparent_parts_are_white_and_count(folder):
    planned, batch = batch_of(dataset_of(folder))
    assert batch.masks is None
    row = next(row for row, one in enumerate(planned.exposures) if one.record.path.stem == "left")
    assert batch.pixels[row, 0, 0].tolist() == list(range(16, 42)) + [255] * 38


def test_masks_from_files_beat_transparency(folder, tmp_path):
    file = tmp_path / "masks" / "left.png"
    file.parent.mkdir()
    red = np.where(np.arange(96) < 24, 0, 255).astype(np.uint8) * np.ones((64, 1), np.uint8)
    Image.fromarray(np.dstack([red, 255 - red, red])).save(file)
    planned, batch = batch_of(dataset_of(folder, {"left": file}, alpha_mask=True))
    mask, pixels = mask_row(planned, batch, "left")
    assert mask[0].tolist() == [0, 1, 1, 1, 1, 1, 1, 1]
    assert pixels[0, 0, -1] == 255, "what is transparent is white"


def test_masks_are_mirrored_and_moved_with_their_images(folder):
    """Wherever a picture is cropped, and however it is mirrored: dark pixels are the opaque ones."""
    dataset = dataset_of(folder, alpha_mask=True, flip_aug=True, random_crop=True)
    seen = set()
    for epoch in range(12):
        planned, batch = batch_of(dataset, epoch)
        for row, exposure in enumerate(planned.exposures):
            columns = batch.pixels[row, 0, 0]
            opaque = (columns < 42).float().view(8, 8).mean(dim=1)
            expected = opaque if exposure.record.path.stem == "left" else torch.ones(8)
            assert torch.equal(batch.masks[row], expected.expand(8, 8))
            seen.add((int(columns.min()), bool(columns[0] > columns[1])))
    assert len({start for start, _ in seen}) > 15
    assert {flipped for _, flipped in seen} == {False, True}


def test_sizes_tell_of_random_crops(folder):
    """Left and top of the crop as in the mirrored picture: U-Nets learn what was cut off at their left."""
    dataset = dataset_of(folder, flip_aug=True, random_crop=True)
    seen = set()
    for epoch in range(12):
        planned, batch = batch_of(dataset, epoch)
        for row, exposure in enumerate(planned.exposures):
            if exposure.record.path.stem != "plain":
                continue
            columns = batch.pixels[row, 0, 0]
            flipped = bool(columns[0] > columns[1])
            left = 95 - int(columns.max()) if flipped else int(columns.min())
            assert batch.sizes[row].tolist() == [64, 96, 0, left, 64, 64]
            seen.add((left, flipped))
    assert len(seen) > 15


def test_sizes_tell_of_face_crops(tmp_path):
    """A face of 40 pixels in a picture of 128: the crop is 1.6 faces wide, and begins at its centre less the half."""
    folder = tmp_path / "faces"
    folder.mkdir()
    columns = np.arange(128, dtype=np.uint8).reshape(1, 128, 1) * np.ones((128, 1, 3), np.uint8)
    Image.fromarray(columns).save(folder / "a_70_48_40_30.png")
    planned, batch = batch_of(dataset_of(folder, face_crop_aug_range=(1.6, 1.6)))
    assert planned.exposures[0].record.placement.resized == (64, 64), "without the face"
    assert batch.sizes.tolist() == [[128, 128, 16, 38, 64, 64]] * 3
    assert batch.pixels[0, 0, 0].tolist() == list(range(38, 38 + 64))


def test_colours_change_and_nothing_else_does(folder):
    dataset = dataset_of(folder)
    changed = []
    for epoch in range(10):
        _, batch = batch_of(dataset_of(folder, color_aug=True), epoch)
        _, plain = batch_of(dataset, epoch)
        changed += [not torch.equal(one, other) for one, other in zip(batch.pixels, plain.pixels, strict=True)]
        assert torch.equal(batch.draws.noise, plain.draws.noise)
        assert torch.equal(batch.sizes, plain.sizes)
        largest = (batch.pixels.int() - plain.pixels.int()).abs().max()
        assert largest <= 5, "these greys have no hue; their gamma changes by a twentieth"
    assert 0.05 < sum(changed) / len(changed) < 0.35


def test_a_subset_has_its_own_interpolation(folder):
    small = SubsetSettings(image_dir=folder, class_tokens="x", resize_interpolation="nearest")
    settings = DatasetSettings(resolution=(128, 128), batch_size=9, subsets=(small,))
    _, batch = batch_of(scan_dataset(0, settings, Findings()))
    assert batch.pixels[0, 0, 0].tolist()[:4] == [16, 16, 17, 17]


def test_batches_know_the_strength_of_their_dataset(folder):
    """The reference tool puts the number into its batches and never reads it."""
    plain = dataset_of(folder)
    records = tuple(replace(record, dataset=1) for record in plain.records)
    weak = Dataset(plain.settings.model_copy(update={"network_multiplier": 0.3}), records)
    preparer = preparer_of(plain, datasets=(plain, weak))
    batches = [preparer.prepare(planned) for planned in batches_of_epoch((plain, weak), SEED, 0)]
    assert {batch.image_ids[0][0]: batch.network_multiplier for batch in batches} == {"0": 1.0, "1": 0.3}


def test_batches_know_which_rows_are_to_stay_as_they_are(folder):
    plain = dataset_of(folder)
    assert batch_of(plain)[1].preserved is None
    assert batch_of(dataset_of(folder, custom_attributes={"diff_output_preservation": False}))[1].preserved is None
    subset = plain.settings.subsets[0]
    second = subset.model_copy(update={"custom_attributes": {"diff_output_preservation": True}})
    settings = plain.settings.model_copy(update={"subsets": (subset, second)})
    records = tuple(replace(one, subset=int(one.path.stem == "left")) for one in plain.records)
    planned, batch = batch_of(Dataset(settings, records))
    rows = [row for row, one in enumerate(planned.exposures) if one.record.path.stem == "left"]
    assert batch.preserved.dtype == torch.int64
    assert batch.preserved.tolist() == rows
    assert 0 < len(rows) < len(planned.exposures)


def test_an_unreadable_image_counts_nothing(folder):
    dataset = dataset_of(folder, alpha_mask=True)
    (folder / "plain.png").write_bytes(b"\x89PNG\r\n\x1a\nIEND")
    planned, batch = batch_of(dataset)
    names = [one.record.path.stem for one in planned.exposures]
    assert sorted(names) == ["left"] * 3 + ["plain"] * 3
    assert batch.loss_weights.tolist() == [float(name == "left") for name in names]
    for row, name in enumerate(names):
        assert bool(batch.pixels[row].any()) == (name == "left")
        assert (batch.masks[row].min() == 1) == (name == "plain")
    assert len(batch.unreadable) == 3
    (told,) = set(batch.unreadable)
    assert told.startswith(f"'{folder / 'plain.png'}': ")
    assert torch.equal(pickle.loads(pickle.dumps(batch)).loss_weights, batch.loss_weights)


def test_an_unreadable_image_is_an_error_if_it_must_not_be_skipped(folder):
    dataset = dataset_of(folder)
    (folder / "plain.png").unlink()
    with pytest.raises(UserError, match=r"plain\.png': No such file or directory; repair or remove it, or train "):
        batch_of(dataset, skips_unreadable=False)


class HalfACache:
    """Has means and deviations of all pictures, masks, and misses the second picture of each batch."""

    def fetch(self, pictures, shape):
        number = len(pictures)
        latents = torch.full((number, *shape), 2.0, dtype=torch.float16)
        latents[1] = 0
        return CachedLatents(latents, torch.ones_like(latents), torch.full((number, *shape[1:]), 0.5), missing=(1,))


def test_what_a_cache_tells_arrives_in_the_batch(folder):
    dataset = dataset_of(folder)
    planned, batch = batch_of(dataset, cached_latents=HalfACache())
    assert batch.pixels is None
    assert (batch.latents.dtype, batch.deviations.dtype) == (torch.float16, torch.float16)
    assert torch.equal(batch.masks, torch.full((6, 8, 8), 0.5))
    assert batch.loss_weights.tolist() == [1, 0, 1, 1, 1, 1]
    assert batch.unreadable == (f"'{planned.exposures[1].record.path}': it could not be encoded",)
    _, uncached = batch_of(dataset)
    assert torch.equal(batch.draws.posterior, uncached.draws.posterior), "they are sampled anew each time"
    moved = batch.to(torch.device("meta"))
    assert {moved.deviations.device.type, moved.masks.device.type} == {"meta"}
    with pytest.raises(UserError, match=r"\.png': it could not be encoded"):
        batch_of(dataset, cached_latents=HalfACache(), skips_unreadable=False)


def test_draws_are_those_of_earlier_versions(folder):
    """Pinned: options that are not given must not change what is trained."""
    planned, batch = batch_of(dataset_of(folder, flip_aug=True), recipe=DrawRecipe(offset=True))
    draws = batch.draws
    found = {
        f"{one.record.path.stem} {one.number}": [
            round(float(value), 4)
            for value in (
                draws.noise[row].flatten()[9],
                draws.offset[row, 2],
                draws.posterior[row].flatten()[-1],
                draws.timestep[row],
                batch.pixels[row, 0, 0, 0],
            )
        ]
        for row, one in enumerate(planned.exposures)
    }
    assert found == EARLIER
