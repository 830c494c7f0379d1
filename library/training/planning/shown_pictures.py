"""The pictures of the first batches as training would see them: cropped, mirrored, recoloured, with their captions."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image

from library.dataset.augmentations.augmentation import show, view_of
from library.dataset.batch_plan import Exposure
from library.dataset.buckets.aspect_buckets import Size
from library.dataset.images.image_files import UnreadableImageError
from library.dataset.images.pictures import Picture, PictureReader
from library.options.dataset_settings import SubsetSettings
from library.training.batch_schedule import BatchSchedule
from library.training.planning.run_report import first_batches

LONGEST_SIDE = 256
"""Pixels of a picture on a page."""
UNMASKED = 0.25
"""Brightness of pixels that do not count in the loss."""
_DECODERS = 4


@dataclass(frozen=True)
class ShownPicture:
    batch: int
    """from 1, in the order of training"""
    step: int
    """optimizer step that trains on it, from 1"""
    bucket: Size
    image: str
    """path of the file"""
    caption: str
    """final; may be empty"""
    remarks: tuple[str, ...]
    """what else is to be known, as that it is mirrored"""
    pixels: Image.Image
    """made smaller for a page; dimmed where a mask says that pixels count less"""


@dataclass(frozen=True)
class _Shot:
    """A picture to be taken."""

    batch: int
    step: int
    exposure: Exposure
    caption: str


def shown_pictures(schedule: BatchSchedule, reader: PictureReader, most: int) -> Iterator[ShownPicture]:
    """The first exposures of the first epoch, in the order in which they are trained on."""

    def take(shot: _Shot) -> ShownPicture:
        record = shot.exposure.record
        rules = schedule.datasets[record.dataset].rules_of(record)
        return _take(shot, rules, schedule.seed, reader)

    with ThreadPoolExecutor(_DECODERS) as pool:
        yield from pool.map(take, islice(_shots(schedule), most))


def _shots(schedule: BatchSchedule) -> Iterator[_Shot]:
    for number, batch in enumerate(first_batches(schedule), 1):
        for exposure, caption in zip(batch.exposures, schedule.captions.of_batch(batch), strict=True):
            yield _Shot(number, batch.step + 1, exposure, caption)


def _take(shot: _Shot, rules: SubsetSettings, seed: int, reader: PictureReader) -> ShownPicture:
    record, view = shot.exposure.record, view_of(shot.exposure, rules, seed)
    remarks = ["regularisation"] if record.is_reg else []
    try:
        picture = show(reader.read(record), view)
    except UnreadableImageError as error:
        width, height = view.placement.bucket
        picture = Picture(np.zeros((height, width, 3), np.uint8), None)
        remarks.append(f"unreadable: {error}")
    if view.flipped:
        remarks.append("mirrored")
    if picture.mask is not None:
        remarks.append("masked")
    return ShownPicture(
        shot.batch, shot.step, view.placement.bucket, str(record.path), shot.caption, tuple(remarks), _small(picture)
    )


def _small(picture: Picture) -> Image.Image:
    pixels = picture.pixels
    if picture.mask is not None:
        brightness = UNMASKED + (1 - UNMASKED) * picture.mask[..., None] / 255
        pixels = np.rint(pixels * brightness).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return image
