"""The weights that an optimizer means to be used, where they are not those that it trains."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer

from library.optimizers.kept_weights import kept
from library.optimizers.stochastic_rounding import in_float32


def averages_weights(optimizer: torch.optim.Optimizer) -> bool:
    """Whether gradients are to be taken at other weights than those that are used, as with schedule-free optimizers:
    they exchange the two by `train()` and `eval()`."""
    return all(callable(getattr(optimizer, method, None)) for method in ("train", "eval"))


@contextmanager
def evaluation_weights(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Inside, parameters hold the averages of a schedule-free optimizer (x of Defazio et al. 2024, arXiv 2405.15682);
    afterwards, bit by bit what they held before. With any other optimizer, nothing happens.

    Going back by the optimizer's own formula would round, so that saving or drawing previews changed the training.

    Args:
        optimizer: in training mode; perhaps wrapped by accelerate, whose wrapper has both methods whatever is in it.
    """
    unwrapped: Any = optimizer.optimizer if isinstance(optimizer, AcceleratedOptimizer) else optimizer
    if not averages_weights(unwrapped):
        yield
        return
    precision = in_float32 if _has_wider_states(unwrapped) else nullcontext
    with kept(_parameters(unwrapped)):
        with precision(unwrapped):
            unwrapped.eval()
        try:
            yield
        finally:
            with precision(unwrapped):
                unwrapped.train()


def _has_wider_states(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it steps weights in bfloat16 as float32 (see stochastic_rounding.py), in which its copies of them are."""
    return any(
        parameter.dtype is torch.bfloat16
        and any(
            isinstance(value, torch.Tensor) and value.shape == parameter.shape and value.dtype is torch.float32
            for value in optimizer.state.get(parameter, {}).values()
        )
        for parameter in _parameters(optimizer)
    )


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
