"""Which pictures of a run are encoded, and what stands for each in files."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from library.caching.content_identity import key_of
from library.dataset.augmentations.augmentation import View, still_view
from library.dataset.batches.cached_latents import LatentKey
from library.dataset.records import Dataset, ImageRecord
from library.diffusion.latents import LatentLayout

FORMAT_VERSION = 1
"""Raised when latents stored before would be wrong, or cannot be read: with another way of resizing, say."""


@dataclass(frozen=True)
class LatentPicture:
    """An image as training sees it."""

    record: ImageRecord
    view: View

    @property
    def key(self) -> LatentKey:
        return LatentKey(self.record.image_id, self.view.flipped)

    @property
    def may_have_mask(self) -> bool:
        return self.record.alpha_mask or self.record.mask_path is not None


def pictures_of(datasets: Sequence[Dataset]) -> list[LatentPicture]:
    """All pictures that training may use; the largest first, so that short memory shows at once."""
    pictures = []
    for dataset in datasets:
        for record in dataset.records:
            rules = dataset.rules_of(record)
            versions = (False, True) if rules.flip_aug else (False,)
            if record.repeats:
                pictures += [LatentPicture(record, still_view(record, rules, flipped)) for flipped in versions]
    return sorted(pictures, key=_area, reverse=True)  # stable: the versions of an image stay together


def in_batches(pictures: Sequence[LatentPicture], batch_size: int) -> list[list[LatentPicture]]:
    """In batches of one size each, in the order of the sizes' first pictures."""
    by_bucket: dict[tuple[int, int], list[LatentPicture]] = defaultdict(list)
    for picture in pictures:
        by_bucket[picture.view.placement.bucket].append(picture)
    return [
        group[start : start + batch_size] for group in by_bucket.values() for start in range(0, len(group), batch_size)
    ]


def entry_key(picture: LatentPicture, fingerprint: str) -> str:
    """A name for everything about a picture that determines its latents and its mask.

    Args:
        fingerprint: of the image's and its mask's content.
    """
    placement = picture.view.placement
    return key_of(
        {
            "content": fingerprint,
            "resized": placement.resized,
            "crop": placement.crop,
            "bucket": placement.bucket,
            "interpolation": picture.view.interpolation,
            "flipped": picture.view.flipped,
        }
    )


def settings_key(weights: str, precision: torch.dtype, layout: LatentLayout, scale: float, resamples: bool) -> str:
    """A name for everything but the picture that determines its latents.

    Args:
        weights: the VAE's, from `weights_fingerprint`.
        precision: in which the VAE computes.
        scale: by which its latents are multiplied.
        resamples: mean and deviation are kept instead of one sample.
    """
    return key_of(
        {
            "format": FORMAT_VERSION,
            "weights": weights,
            "precision": str(precision),
            "channels": layout.channels,
            "pixels_per_cell": layout.pixels_per_cell,
            "scale": scale,
            "kept": "mean and deviation" if resamples else "sample",
        }
    )


def _area(picture: LatentPicture) -> int:
    width, height = picture.view.placement.bucket
    return width * height
