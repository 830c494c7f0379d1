"""What the training step gets: everything about a batch, and every random number it will use."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from library.dataset.batch_plan import Exposure
from library.diffusion.latents import LatentLayout
from library.randomness import tensor_generator


@dataclass(frozen=True)
class Draws:
    """Raw random numbers of a batch, drawn for each image from generators of its own."""

    noise: torch.Tensor
    """(batch, channels, height, width) in latent cells, standard normal"""
    offset: torch.Tensor
    """(batch, channels), standard normal: for offset noise"""
    posterior: torch.Tensor
    """(batch, channels, height, width), standard normal: for sampling what the VAE says of a picture"""
    timestep: torch.Tensor
    """(batch,), uniform in [0, 1), float32 (not every device knows float64)"""


@dataclass(frozen=True)
class TrainingBatch:
    """Images of one size. Tensors are on the CPU until `to` moves them."""

    index: int
    """Position among all batches of the run, over all processes, from 0: seeds the network's dropouts."""
    image_ids: tuple[str, ...]
    captions: tuple[str, ...]
    """After all caption rules."""
    tokens: tuple[torch.Tensor, ...]
    """Token ids for each text encoder, (batch, length)"""
    pixels: torch.Tensor | None
    """uint8 (batch, 3, height, width), or None when there are latents"""
    latents: torch.Tensor | None
    """(batch, channels, height, width) in latent cells, scaled for the U-Net, or None when there are pixels"""
    loss_weights: torch.Tensor
    """(batch,): 1, or the prior-loss weight for regularisation images"""
    draws: Draws

    def to(self, device: torch.device) -> "TrainingBatch":
        return _map_tensors(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "TrainingBatch":
        """Called by DataLoader: page-locked memory lets copies to a GPU overlap with computing."""
        return _map_tensors(self, torch.Tensor.pin_memory)


def draw_for(exposures: Sequence[Exposure], layout: LatentLayout, seed: int) -> Draws:
    """The draws of a batch. Each image's depend on the seed, its id and its exposure only, and each kind of
    draw has a generator of its own, so that no option changes what another one draws."""
    shape = layout.shape(exposures[0].record.placement.bucket)

    def normal(purpose: str, size: tuple[int, ...]) -> torch.Tensor:
        return torch.stack([torch.randn(size, generator=_generator(seed, purpose, one)) for one in exposures])

    timesteps = [torch.rand((), generator=_generator(seed, "timestep", one)) for one in exposures]
    return Draws(
        noise=normal("noise", shape),
        offset=normal("noise offset", shape[:1]),
        posterior=normal("posterior", shape),
        timestep=torch.stack(timesteps),
    )


def _generator(seed: int, purpose: str, exposure: Exposure) -> torch.Generator:
    return tensor_generator(seed, purpose, exposure.record.image_id, exposure.number)


def _map_tensors(instance: Any, change: Any) -> Any:
    """A copy of a dataclass with `change` applied to every tensor in it."""

    def changed(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return change(value)
        if isinstance(value, Draws):
            return _map_tensors(value, change)
        if isinstance(value, tuple):
            return tuple(changed(part) for part in value)
        return value

    return replace(instance, **{item.name: changed(getattr(instance, item.name)) for item in fields(instance)})
