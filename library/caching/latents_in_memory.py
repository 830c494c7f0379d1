"""Latents of all images, encoded once before training and kept in memory."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tqdm import tqdm

from library.dataset.batch_preparation import LatentKey, load_pixels
from library.dataset.records import Dataset, ImageRecord
from library.errors import UserError
from library.models.adapter import ModelAdapter
from library.models.latent_codec import NO_FINITE_LATENTS, NonFiniteLatentsError
from library.randomness import tensor_generator


@dataclass(frozen=True)
class _Picture:
    record: ImageRecord
    flipped: bool

    @property
    def key(self) -> LatentKey:
        return LatentKey(self.record.image_id, self.flipped)


def encode_all(
    model: ModelAdapter,
    datasets: Sequence[Dataset],
    batch_size: int,
    seed: int,
    device: torch.device,
    show_progress: bool,
) -> dict[LatentKey, torch.Tensor]:
    """Latents (channels, height, width) of every picture, float32 on the CPU, scaled for the U-Net.

    Each is one sample of what the VAE says of the picture, drawn from a generator of the picture's own.

    Raises:
        UserError: an image cannot be read, or its latents are not finite.
    """
    batches = _batches(datasets, batch_size)
    latents = {}
    with tqdm(total=sum(map(len, batches)), desc="encoding images", unit="image", disable=not show_progress) as bar:
        for batch in batches:
            encoded = _encode(model, batch, seed, device)
            latents |= {picture.key: row.clone() for picture, row in zip(batch, encoded, strict=True)}
            bar.update(len(batch))
    return latents


def _batches(datasets: Sequence[Dataset], batch_size: int) -> list[list[_Picture]]:
    """All pictures that training may use, in batches of one size each."""
    by_bucket: dict[tuple[int, int], list[_Picture]] = defaultdict(list)
    for dataset in datasets:
        for record in dataset.records:
            if not record.repeats:
                continue
            versions = (False, True) if dataset.settings.subsets[record.subset].flip_aug else (False,)
            by_bucket[record.placement.bucket] += [_Picture(record, flipped) for flipped in versions]
    return [
        pictures[start : start + batch_size]
        for _, pictures in sorted(by_bucket.items())
        for start in range(0, len(pictures), batch_size)
    ]


def _encode(model: ModelAdapter, batch: Sequence[_Picture], seed: int, device: torch.device) -> torch.Tensor:
    shape = model.family.latents.shape(batch[0].record.placement.bucket)
    generators = [tensor_generator(seed, "cached", picture.record.image_id, int(picture.flipped)) for picture in batch]
    draws = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
    pixels = load_pixels([picture.record for picture in batch], [picture.flipped for picture in batch])
    try:
        return model.encode_images(pixels.to(device), draws.to(device)).cpu()
    except NonFiniteLatentsError as error:
        raise UserError(f"image '{batch[error.rows[0]].record.path}': {NO_FINITE_LATENTS}") from None
