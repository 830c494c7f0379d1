"""What the training batches need of a cache of latents."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch


class LatentKey(NamedTuple):
    """Which picture cached latents show."""

    image_id: str
    flipped: bool


@dataclass(frozen=True)
class CachedLatents:
    """What a cache holds of some pictures of one size, in the order asked for."""

    latents: torch.Tensor
    """(batch, channels, height, width) in latent cells, scaled for the U-Net, 16 or 32 bits: one sample of what the
    VAE says of each picture, or the mean if there are deviations; zeros for a missing picture"""
    deviations: torch.Tensor | None
    """the same shape: standard deviations, scaled likewise; None = latents are samples"""
    masks: torch.Tensor | None
    """float32 (batch, height, width) in latent cells, 0 to 1; None = no picture of these has a mask"""
    missing: tuple[int, ...]
    """rows of pictures that could not be encoded"""


class LatentSource(Protocol):
    """A cache of the run's latents. Used by a thread of the process that trains."""

    def fetch(self, pictures: Sequence[LatentKey], shape: tuple[int, int, int]) -> CachedLatents:
        """
        Args:
            shape: (channels, height, width) of each picture in latent cells.
        """
        ...
