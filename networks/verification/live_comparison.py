"""Does a file do to the model what the network in memory does?

Each layer that the network changes is fed random input, and its output is compared with that of the layer's weight
merged with what the file holds. The file is read by our own kinds, so that modules of third parties are checked by
somebody else's arithmetic.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from networks.kinds.catalogue import recognise, tensors_by_layer
from networks.layers.adapted_layer import AdaptedLayer
from networks.targeting.targets import Target

TOLERANCE = 0.05
"""How far a layer's change may be from the file's, relative to it: half precision costs up to 0.01."""

_ROWS = 64
"""Inputs per linear layer."""
_SIDE = 8
"""Convolutions get a picture of so many cells each way."""
_ROUNDING_STEPS = 8
"""How many units in the last place of the output do not count as a difference."""
_ROUNDING_STEPS_OF_MEAN = 3
"""The same for means over the output, in which roundings cancel each other: six standard deviations or so."""


@dataclass(frozen=True)
class LayerComparison:
    name: str
    error: float
    """of the change in memory, relative to the size of the file's change"""
    change: float
    """size of the file's change, relative to the layer's output"""
    is_lost: bool = False
    """whether there is a change, but so small that the output's rounding hides whether it is there"""


@torch.no_grad()
def compare_with_live(weights: Mapping[str, torch.Tensor], targets: Iterable[Target]) -> Iterator[LayerComparison]:
    """
    Args:
        weights: what the file holds.
        targets: the layers of the model, to which the network is applied. The network must not be in training mode.
            Those without a weight (has_weight) are left out.
    """
    in_file = tensors_by_layer(weights)
    for target in targets:
        kind = recognise(in_file.get(target.name, {}))
        if kind is not None and has_weight(target.layer):
            device = target.layer.get_parameter("weight").device
            adapted = kind.from_tensors(target.name, target.layer, in_file[target.name]).to(device)
            yield _compare(target, adapted)


def has_weight(layer: nn.Module) -> bool:
    """Some networks of others take a layer's weight away and compute with one of their own. What it was, and thus what
    the file would change, cannot be seen then."""
    return getattr(layer, "weight", None) is not None


def _compare(target: Target, adapted: AdaptedLayer) -> LayerComparison:
    x = _random_input(target.layer)
    live = target.layer(x)
    with torch.autocast(x.device.type, enabled=False):
        base = adapted.reference_output(x.float(), strength=0.0)
        # by the kind's definition and by itself: merged into the weight, a small change would be lost in rounding
        change = AdaptedLayer.change(adapted, x.float())
    # live - base is exact where they are close, while base + change would be rounded once more
    difference = (live.float() - base) - change
    rounding = torch.finfo(live.dtype).eps * (base + change).abs()
    hidden = _hidden_along(change, rounding, may_be_swallowed=not _is_rounded_once(target.layer, live))
    size = change.norm()
    return LayerComparison(
        target.name,
        error=_error(difference, change, rounding, hidden).item(),
        change=(size / base.norm()).item(),
        is_lost=bool((size > 0) & (size <= hidden)),
    )


def _is_rounded_once(layer: nn.Module, live: torch.Tensor) -> bool:
    """Whether the change is added to an output that is not rounded yet to the precision of the sum."""
    is_ours = isinstance(getattr(vars(layer).get("forward"), "__self__", None), AdaptedLayer)
    return is_ours and live.dtype != torch.float32


def _hidden_along(change: torch.Tensor, rounding: torch.Tensor, may_be_swallowed: bool) -> torch.Tensor:
    """How much of a difference along the change rounding explains.

    Args:
        rounding: a unit in the last place of each number.
        may_be_swallowed: whether numbers of the change are added to rounded ones, so that those below half a unit are
            lost, all of them alike.
    """
    mean: torch.Tensor = _ROUNDING_STEPS_OF_MEAN * rounding.norm() / change.numel() ** 0.5
    if not may_be_swallowed:
        return mean
    size = change.norm().clamp(min=torch.finfo(change.dtype).tiny)
    swallowed: torch.Tensor = (torch.minimum(change.abs(), rounding / 2) * change.abs()).sum() / size
    return mean + swallowed


def _error(
    difference: torch.Tensor, change: torch.Tensor, rounding: torch.Tensor, hidden: torch.Tensor
) -> torch.Tensor:
    """The size of a difference between two outputs relative to a change, as far as rounding does not explain it.

    In half precision, rounding may be larger than the whole change. What is wrong with the change's strength shows
    all the same, along the change, where the roundings of all numbers cancel each other.

    Args:
        rounding: a unit in the last place of each number.
        hidden: how much of a difference along the change rounding explains.
    """
    size = change.norm()
    excess = (difference.norm() - _ROUNDING_STEPS * rounding.norm()).clamp(min=0)
    along = (difference * change).sum().abs() / size
    excess_along = (along - hidden).clamp(min=0)
    largest = torch.maximum(excess, torch.where(size == 0, torch.zeros_like(along), excess_along))
    return torch.where(largest == 0, torch.zeros_like(largest), largest / size)  # NaN remains


def _random_input(layer: Any) -> torch.Tensor:
    """Standard normal numbers in the layer's shape, precision and place, the same each time."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(layer, nn.Conv2d):
        shape: tuple[int, ...] = (1, layer.in_channels, _SIDE, _SIDE)
    elif isinstance(layer, nn.GroupNorm):
        shape = (1, layer.num_channels, _SIDE, _SIDE)
    elif isinstance(layer, nn.LayerNorm):
        shape = (_ROWS, *layer.normalized_shape)
    else:
        shape = (_ROWS, layer.in_features)
    weight = layer.weight
    dtype = weight.dtype if weight.dtype.itemsize > 1 else torch.float32  # of eight-bit layers: any
    return torch.randn(shape, generator=generator).to(weight.device, dtype)
