"""How an exposure shows its image: where it is cropped, whether it is mirrored, how its colours are changed.

A view is a pure function of the exposure, the rules of its subset and the seed. Each kind of draw has a generator
of its own, so that no option changes what another one draws.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from library.dataset.augmentations.colour_changes import ColourChange, change_colours, draw_colour_change
from library.dataset.augmentations.face_crops import crop_around, face_of
from library.dataset.batch_plan import Exposure
from library.dataset.buckets.aspect_buckets import Placement
from library.dataset.images.image_resizing import resize_and_crop
from library.dataset.images.pictures import Picture
from library.dataset.records import ImageRecord
from library.options.dataset_settings import SubsetSettings
from library.options.groups.dataset import Interpolation
from library.randomness import python_generator

FLIP_PROBABILITY = 0.5


@dataclass(frozen=True)
class View:
    """From an upright image to the picture that is trained on."""

    placement: Placement
    flipped: bool = False
    """left to right, after cropping"""
    colour: ColourChange | None = None
    interpolation: Interpolation | None = None
    """None = area averaging for shrinking, Lanczos for enlarging"""

    @property
    def crop(self) -> tuple[int, int]:
        """(left, top) of the picture within the resized image, mirrored with it; in pixels."""
        left, top = self.placement.crop
        if self.flipped:
            left = self.placement.resized[0] - self.placement.bucket[0] - left
        return left, top


def still_view(record: ImageRecord, rules: SubsetSettings, flipped: bool = False) -> View:
    """Without anything random, as a cache holds it."""
    return View(record.placement, flipped, interpolation=rules.resize_interpolation)


def view_of(exposure: Exposure, rules: SubsetSettings, seed: int) -> View:
    """What this exposure shows under its subset's rules."""

    def generator(purpose: str) -> random.Random:
        return python_generator(seed, purpose, exposure.record.image_id, exposure.number)

    return View(
        placement=_draw_placement(exposure.record, rules, generator),
        flipped=rules.flip_aug and generator("flip").random() < FLIP_PROBABILITY,
        colour=draw_colour_change(generator("colour")) if rules.color_aug else None,
        interpolation=rules.resize_interpolation,
    )


def _draw_placement(record: ImageRecord, rules: SubsetSettings, generator: Callable[[str], random.Random]) -> Placement:
    placement, zooms = record.placement, rules.face_crop_aug_range
    face = None if zooms is None else face_of(record.path)
    if zooms is not None and face is not None:
        return crop_around(face, record.size, placement.bucket, zooms, rules.random_crop, generator("face crop"))
    if not rules.random_crop:
        return placement
    rng = generator("crop")
    spare = (size - kept for size, kept in zip(placement.resized, placement.bucket, strict=True))
    left, top = (rng.randint(0, pixels) for pixels in spare)
    return replace(placement, crop=(left, top))


def show(picture: Picture, view: View) -> Picture:
    """The picture of the view's size; its mask is scaled, cropped and mirrored with it."""
    pixels, mask = _resize_and_crop(picture, view)
    if view.colour is not None:
        pixels = change_colours(pixels, view.colour)
    if view.flipped:
        pixels, mask = pixels[:, ::-1], None if mask is None else mask[:, ::-1]
    return Picture(pixels, mask)


def _resize_and_crop(picture: Picture, view: View) -> tuple[np.ndarray, np.ndarray | None]:
    if picture.mask is None:
        return resize_and_crop(picture.pixels, view.placement, view.interpolation), None
    if picture.mask_is_alpha:
        both = np.dstack([picture.pixels, picture.mask])
        resized = resize_and_crop(both, view.placement, view.interpolation)
        return np.ascontiguousarray(resized[..., :3]), resized[..., 3]
    pixels, mask = (
        resize_and_crop(part, view.placement, view.interpolation) for part in (picture.pixels, picture.mask)
    )
    return pixels, mask
