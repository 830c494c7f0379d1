"""Turns a planned batch into a training batch: pictures or latents, captions, tokens, draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from library.dataset.augmentations.augmentation import View, show, view_of
from library.dataset.augmentations.loss_masks import mask_sums, masks_from_sums
from library.dataset.batch_plan import PlannedBatch
from library.dataset.batches.cached_latents import LatentKey, LatentSource
from library.dataset.batches.draws import DrawRecipe, draw_for
from library.dataset.batches.training_batch import TrainingBatch
from library.dataset.buckets.aspect_buckets import Size
from library.dataset.captions.exposed_captions import ExposedCaptions
from library.dataset.images.image_files import UnreadableImageError
from library.dataset.images.pictures import Picture, PictureReader
from library.dataset.records import Dataset, ImageRecord
from library.diffusion.conditioning import TextConditioning, TokenizedCaptions, size_numbers
from library.diffusion.latents import LatentLayout
from library.errors import UserError
from library.options.dataset_settings import SubsetSettings

Tokenize = Callable[[Sequence[str]], TokenizedCaptions]
EncodedCaptions = Callable[[Sequence[str]], TextConditioning]
"""Captions -> what the text encoders said of them before training."""

NOT_ENCODED = "it could not be encoded"


@dataclass(frozen=True)
class BatchPreparer:
    """Prepares any batch of the run at any time and in any process: it has no state."""

    datasets: tuple[Dataset, ...]
    seed: int
    layout: LatentLayout
    tokenize: Tokenize
    prior_loss_weight: float
    pictures: PictureReader
    recipe: DrawRecipe = field(default_factory=DrawRecipe)
    """Random numbers that the noise and the timesteps ask for."""
    cached_latents: LatentSource | None = None
    """None = batches carry pixels."""
    cached_text: EncodedCaptions | None = None
    """None = batches carry tokens."""
    max_train_steps: int = 0
    """Length of the run, needed by a tag warm-up that is a share of it."""
    caption_variants: int | None = None
    """Most different captions of an image; None = a new one for each exposure."""
    skips_unreadable: bool = True
    """An image that turns out unreadable becomes a black one that counts nothing; otherwise it is an error."""

    def prepare(self, batch: PlannedBatch) -> TrainingBatch:
        """
        Raises:
            UserError: an image cannot be used, and such images are not to be skipped; names the file.
        """
        records = [exposure.record for exposure in batch.exposures]
        views = [view_of(exposure, self._subset(exposure.record), self.seed) for exposure in batch.exposures]
        rules = ExposedCaptions(self.datasets, self.seed, self.max_train_steps, self.caption_variants)
        captions = rules.of_batch(batch)
        cached = self.cached_latents
        content = self._read(records, views) if cached is None else self._fetch(cached, records, views)
        weights = [self.prior_loss_weight if record.is_reg else 1.0 for record in records]
        for row in content.unusable:
            weights[row] = 0.0
        is_sampled = content.latents is not None and content.deviations is None
        return TrainingBatch(
            index=batch.index,
            image_ids=tuple(record.image_id for record in records),
            captions=tuple(captions),
            tokens=self.tokenize(captions) if self.cached_text is None else None,
            text=None if self.cached_text is None else self.cached_text(captions),
            sizes=torch.tensor([_sizes(record, view) for record, view in zip(records, views, strict=True)]),
            pixels=content.pixels,
            latents=content.latents,
            deviations=content.deviations,
            masks=content.masks,
            loss_weights=torch.tensor(weights),
            draws=draw_for(batch, self.layout, self.seed, self.recipe, samples_posterior=not is_sampled),
            network_multiplier=self.datasets[records[0].dataset].settings.network_multiplier,
            preserved=self._preserved_rows(records),
            unreadable=tuple(f"'{records[row].path}': {reason}" for row, reason in content.unusable.items()),
        )

    def _preserved_rows(self, records: Sequence[ImageRecord]) -> torch.Tensor | None:
        rows = [row for row, record in enumerate(records) if self._subset(record).preserves_output]
        return torch.tensor(rows) if rows else None

    def _subset(self, record: ImageRecord) -> SubsetSettings:
        return self.datasets[record.dataset].rules_of(record)

    def _read(self, records: Sequence[ImageRecord], views: Sequence[View]) -> "_Content":
        pictures, unusable = [], {}
        for row, (record, view) in enumerate(zip(records, views, strict=True)):
            try:
                pictures.append(show(self.pictures.read(record), view))
            except UnreadableImageError as error:
                unusable[row] = self._excuse(record, str(error))
                pictures.append(black_picture(view.placement.bucket))
        cell = self.layout.pixels_per_cell
        masks = [None if picture.mask is None else mask_sums(picture.mask, cell) for picture in pictures]
        return _Content(unusable, pixels=stack_pixels(pictures), masks=masks_from_sums(masks, cell))

    def _fetch(self, source: LatentSource, records: Sequence[ImageRecord], views: Sequence[View]) -> "_Content":
        keys = [LatentKey(record.image_id, view.flipped) for record, view in zip(records, views, strict=True)]
        cached = source.fetch(keys, self.layout.shape(records[0].placement.bucket))
        unusable = {row: self._excuse(records[row], NOT_ENCODED) for row in cached.missing}
        return _Content(unusable, latents=cached.latents, deviations=cached.deviations, masks=cached.masks)

    def _excuse(self, record: ImageRecord, reason: str) -> str:
        """The reason why an image is skipped.

        Raises:
            UserError: it must not be.
        """
        if not self.skips_unreadable:
            raise UserError(
                f"image '{record.path}': {reason}; repair or remove it, or train without: --unreadable_images skip"
            )
        return reason


@dataclass(frozen=True)
class _Content:
    """What a batch shows; see TrainingBatch."""

    unusable: dict[int, str]
    """row -> why it shows nothing"""
    pixels: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    deviations: torch.Tensor | None = None
    masks: torch.Tensor | None = None


def _sizes(record: ImageRecord, view: View) -> tuple[int, ...]:
    """Of the picture as it really is: crop offsets within the resized picture, mirrored with it."""
    return size_numbers(record.size, view.crop, view.placement.bucket)


def black_picture(size: Size) -> Picture:
    """Takes the place of a picture of this width and height that cannot be read."""
    return Picture(np.zeros((size[1], size[0], 3), np.uint8), mask=None)


def stack_pixels(pictures: Sequence[Picture]) -> torch.Tensor:
    """uint8 (batch, 3, height, width) of pictures of one size."""
    pixels = np.stack([picture.pixels for picture in pictures])
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
