"""The precision in which a layer computes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

HALF_PRECISIONS = (torch.bfloat16, torch.float16)


def computing_precision(x: Tensor) -> torch.dtype:
    """Autocast's precision where it is active, else that of the input x. As in autocast, fp64 stays fp64."""
    device = x.device.type
    if x.dtype != torch.float64 and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype


def in_computing_precision(x: Tensor, *parameters: Tensor | None) -> tuple[Any, ...]:
    """x and what is computed with it, in one precision; None stays None. Gradients come back in the former ones."""
    dtype = computing_precision(x)
    return tuple(None if tensor is None else tensor.to(dtype) for tensor in (x, *parameters))


def in_full_precision(function: Callable[..., Tensor], x: Tensor, *arguments: Any) -> Tensor:
    """What a function of x and others gives if it computes in fp32 (or x's fp64), in the computing precision.

    For the rare cases of which no fast function makes one rounding.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        wide = (value.to(dtype) if isinstance(value, Tensor) else value for value in arguments)
        output = function(x.to(dtype), *wide)
    return output.to(computing_precision(x))
