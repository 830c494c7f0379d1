"""What the training step gets: everything about a batch, and every random number it will use."""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch

from library.dataset.batches.draws import Draws
from library.diffusion.conditioning import TextConditioning, TokenizedCaptions


@dataclass(frozen=True)
class TrainingBatch:
    """Images of one size. Tensors are on the CPU until `to` moves them."""

    index: int
    """Position among all batches of the run, over all processes, from 0: seeds the network's dropouts."""
    image_ids: tuple[str, ...]
    captions: tuple[str, ...]
    """After all caption rules."""
    tokens: TokenizedCaptions | None
    """or None when the captions are encoded already"""
    text: TextConditioning | None
    """encoded captions, or None when there are tokens"""
    sizes: torch.Tensor
    """int64 (batch, 6): what conditioning.size_numbers says of each picture"""
    pixels: torch.Tensor | None
    """uint8 (batch, 3, height, width), or None when there are latents"""
    latents: torch.Tensor | None
    """(batch, channels, height, width) in latent cells, scaled for the U-Net, or None when there are pixels"""
    loss_weights: torch.Tensor
    """(batch,): 1, or the prior-loss weight for regularisation images; 0 for images that turned out unreadable, whose
    rows hold black pixels or zeros"""
    draws: Draws
    deviations: torch.Tensor | None = None
    """like latents: if given, those are means and these the standard deviations around them"""
    masks: torch.Tensor | None = None
    """float32 (batch, height, width) in latent cells: how much each counts in the loss, 0 to 1; None = all fully"""
    unreadable: tuple[str, ...] = ()
    """the rows without a picture, each as "path: reason" """
    network_multiplier: float = 1.0
    """strength that the network is to work with on these images"""
    preserved: torch.Tensor | None = None
    """int64 (rows,): rows whose target is what the model predicts without the network; None = no row's is"""

    def to(self, device: torch.device) -> "TrainingBatch":
        return _map_tensors(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "TrainingBatch":
        """Called by DataLoader: page-locked memory lets copies to a GPU overlap with computing."""
        return _map_tensors(self, torch.Tensor.pin_memory)


def _map_tensors(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A copy with `change` applied to every tensor in it, however deep in dataclasses and tuples."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_map_tensors(part, change) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{item.name: _map_tensors(getattr(value, item.name), change) for item in fields(value)})
    return value
