"""Encoded pictures, wherever they are kept, and how batches get them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from library.dataset.augmentations.loss_masks import masks_from_sums
from library.dataset.batches.cached_latents import CachedLatents, LatentKey
from library.errors import UserError
from library.wording import counted, listed

logger = logging.getLogger(__name__)

_EXAMPLES_SHOWN = 5


@dataclass(frozen=True)
class EncodedPicture:
    """Arrays in the computer's memory, or mapped from a file. All of a run have one precision."""

    latents: np.ndarray
    """(channels, height, width) in latent cells, scaled for the U-Net: a sample, or the mean if there are deviations"""
    deviations: np.ndarray | None = None
    """the same shape"""
    mask: np.ndarray | None = None
    """int16 (height, width): what `mask_sums` gives; None = everything counts"""


@dataclass(frozen=True)
class UnusablePicture:
    """An image that could not be encoded."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"image '{self.path}': {self.reason}"


Outcome = EncodedPicture | UnusablePicture


@dataclass(frozen=True)
class EncodedLatents:
    """Implements LatentSource: copies are all that is left to do while training."""

    outcomes: Mapping[LatentKey, Outcome]
    pixels_per_cell: int
    resamples: bool
    dtype: np.dtype

    def fetch(self, pictures: Sequence[LatentKey], shape: tuple[int, int, int]) -> CachedLatents:
        """See LatentSource.

        Raises:
            KeyError: a picture was not encoded, which is a bug.
        """
        found = [self.outcomes[picture] for picture in pictures]
        latents = np.zeros((len(found), *shape), self.dtype)
        deviations = np.zeros_like(latents) if self.resamples else None
        masks: list[np.ndarray | None] = [None] * len(found)
        missing = []
        for row, picture in enumerate(found):
            if isinstance(picture, UnusablePicture):
                missing.append(row)
                continue
            latents[row] = picture.latents
            if deviations is not None:
                deviations[row] = picture.deviations
            masks[row] = picture.mask
        return CachedLatents(
            torch.from_numpy(latents),
            None if deviations is None else torch.from_numpy(deviations),
            masks_from_sums(masks, self.pixels_per_cell),
            tuple(missing),
        )


def report_unusable(outcomes: Mapping[LatentKey, Outcome]) -> None:
    """Names the images that could not be encoded.

    Raises:
        UserError: these are all.
    """
    unusable = {outcome.path: outcome for outcome in outcomes.values() if isinstance(outcome, UnusablePicture)}
    if not unusable:
        return
    if all(isinstance(outcome, UnusablePicture) for outcome in outcomes.values()):
        raise UserError(f"no image can be encoded; the first: {next(iter(unusable.values()))}")
    shown = listed([str(one) for one in unusable.values()], _EXAMPLES_SHOWN, "; ")
    logger.warning(f"left out of the training, since encoding failed: {counted(len(unusable), 'image')}: {shown}")
