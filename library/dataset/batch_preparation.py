"""Turns a planned batch into a training batch: pictures or latents, captions, tokens, draws."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from library.dataset.augmentation import is_flipped
from library.dataset.batch_plan import Exposure, PlannedBatch
from library.dataset.exposed_captions import caption_of
from library.dataset.image_files import UnreadableImageError, read_image
from library.dataset.image_resizing import resize_and_crop
from library.dataset.records import Dataset, ImageRecord
from library.dataset.training_batch import TrainingBatch, draw_for
from library.diffusion.conditioning import TextConditioning, TokenizedCaptions, size_numbers
from library.diffusion.latents import LatentLayout
from library.errors import UserError
from library.options.dataset_settings import SubsetSettings

Tokenize = Callable[[Sequence[str]], TokenizedCaptions]
EncodedCaptions = Callable[[Sequence[str]], TextConditioning]
"""Captions -> what the text encoders said of them before training."""


class LatentKey(NamedTuple):
    """Which picture cached latents show."""

    image_id: str
    flipped: bool


@dataclass(frozen=True)
class BatchPreparer:
    """Prepares any batch of the run at any time and in any process: it has no state."""

    datasets: tuple[Dataset, ...]
    seed: int
    layout: LatentLayout
    tokenize: Tokenize
    prior_loss_weight: float
    cached_latents: Mapping[LatentKey, torch.Tensor] | None = None
    """Latents (channels, height, width) of every picture; None = batches carry pixels."""
    cached_text: EncodedCaptions | None = None
    """None = batches carry tokens."""
    caption_variants: int | None = None
    """Most different captions of an image; None = a new one for each exposure."""

    def prepare(self, batch: PlannedBatch) -> TrainingBatch:
        """
        Raises:
            UserError: an image cannot be read or has changed; names the file.
        """
        records = [exposure.record for exposure in batch.exposures]
        pictures = [LatentKey(one.record.image_id, self._is_flipped(one)) for one in batch.exposures]
        captions = [
            caption_of(exposure, batch.epoch, self._subset(exposure.record), self.seed, self.caption_variants)
            for exposure in batch.exposures
        ]
        weights = [self.prior_loss_weight if record.is_reg else 1.0 for record in records]
        cached = self.cached_latents
        return TrainingBatch(
            index=batch.index,
            image_ids=tuple(record.image_id for record in records),
            captions=tuple(captions),
            tokens=self.tokenize(captions) if self.cached_text is None else None,
            text=None if self.cached_text is None else self.cached_text(captions),
            sizes=torch.tensor([_sizes(record, key.flipped) for record, key in zip(records, pictures, strict=True)]),
            pixels=load_pixels(records, [key.flipped for key in pictures]) if cached is None else None,
            latents=None if cached is None else torch.stack([cached[key] for key in pictures]),
            loss_weights=torch.tensor(weights),
            draws=draw_for(batch.exposures, self.layout, self.seed),
        )

    def _subset(self, record: ImageRecord) -> SubsetSettings:
        return self.datasets[record.dataset].settings.subsets[record.subset]

    def _is_flipped(self, exposure: Exposure) -> bool:
        return is_flipped(self._subset(exposure.record), exposure, self.seed)


def _sizes(record: ImageRecord, flipped: bool) -> tuple[int, ...]:
    """Of the picture as it really is: crop offsets within the resized picture, mirrored with it."""
    placement = record.placement
    left, top = placement.crop
    if flipped:
        left = placement.resized[0] - placement.bucket[0] - left
    return size_numbers(record.size, (left, top), placement.bucket)


def load_pixels(records: Sequence[ImageRecord], flips: Sequence[bool]) -> torch.Tensor:
    """uint8 (batch, 3, height, width) of images that share a bucket, some of them mirrored.

    Raises:
        UserError: an image cannot be read, or is no longer the one that was found at the start; names the file.
    """
    pictures = []
    for record, flipped in zip(records, flips, strict=True):
        picture = resize_and_crop(_read(record), record.placement)
        pictures.append(picture[:, ::-1] if flipped else picture)
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def _read(record: ImageRecord) -> np.ndarray:
    try:
        picture = read_image(record.path)
    except UnreadableImageError as error:
        raise UserError(f"image '{record.path}': {error}; replace or remove it") from None
    height, width = picture.shape[:2]
    if (width, height) != record.size:
        # its placement was made for the other size, so that it would be squashed
        raise UserError(
            f"image '{record.path}': it is {width}x{height} now, but was {record.size[0]}x{record.size[1]} when the "
            "images were listed; start again, and leave the files as they are while training"
        )
    return picture
