"""Gradients scaled down to a norm."""

import torch
from torch import Tensor

from library.optimizers.flat_adamw import FlatAdamW


def clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float) -> Tensor:
    """Scales the gradients of what the optimizer trains, and of nothing else, down so that their norm over all is at
    most `max_norm`. Waits for nothing.

    Args:
        optimizer: itself, not wrapped.

    Returns:
        The norm before, a scalar still on the device.
    """
    if isinstance(optimizer, FlatAdamW):
        return optimizer.clip_grad_norm_(max_norm)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return torch.nn.utils.clip_grad_norm_(parameters, max_norm)
