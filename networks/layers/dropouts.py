"""What is left out at random while a network is trained."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Dropouts:
    """Probabilities, from 0 to less than 1. Nothing is dropped outside of training."""

    neuron: float = 0.0
    """of each value between the two factors (--network_dropout)"""
    rank: float = 0.0
    """of each rank, for each image; of each output, for each batch, where the whole change is formed (LoHa, LoKr)"""
    module: float = 0.0
    """of the whole layer's change, drawn once a forward pass"""
    rank_is_scaled: bool = True
    """whether what remains of the ranks makes up for what was dropped"""


NO_DROPOUT = Dropouts()


def draws_module_dropout(probability: float) -> bool:
    """Whether to leave out a whole change. Drawn on the CPU, where asking costs no wait for the device."""
    return probability > 0 and bool(torch.rand(1) < probability)


def inner_mask(
    dropouts: Dropouts, shape: Sequence[int], rank_axis: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor | None:
    """What the values between two factors are multiplied with while training; None where nothing is dropped.

    Args:
        shape: of these values; its first axis is that of the images. The mask broadcasts to it.
        rank_axis: which of its axes is that of the ranks.
    """
    masks = []
    if dropouts.neuron:
        masks.append(functional.dropout(torch.ones(*shape, dtype=dtype, device=device), dropouts.neuron))
    if dropouts.rank:
        uniform = torch.rand(shape[0], shape[rank_axis], device=device)
        mask = rank_mask(uniform, dropouts.rank, dropouts.rank_is_scaled).to(dtype)
        places = [1 for _ in shape[2:]]
        masks.append(mask.view(shape[0], *places, shape[rank_axis]).movedim(-1, rank_axis))
    return math.prod(masks) if masks else None


def rank_mask(uniform: torch.Tensor, probability: float, is_scaled: bool = True) -> torch.Tensor:
    """Which ranks are kept, as factors: 0 or 1, or 1 / (1 - probability) if what remains makes up for the rest.

    Args:
        uniform: numbers drawn from [0, 1); any shape.
    """
    kept = (uniform > probability).to(uniform.dtype)
    return kept / (1 - probability) if is_scaled else kept
