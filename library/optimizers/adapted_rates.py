"""Learning rates that optimizers find themselves."""

from typing import NamedTuple

import torch

Scalar = float | torch.Tensor
"""Tensors are still on the device."""


class AdaptedRate(NamedTuple):
    """Of an optimizer group."""

    d: Scalar
    """what the optimizer estimated"""
    rate: Scalar
    """d * learning rate"""


def adapted_rates(optimizer: torch.optim.Optimizer) -> tuple[AdaptedRate, ...]:
    """One for each group; empty for optimizers that find no rate.

    D-Adaptation, Prodigy and their descendants keep the estimate in their groups. Nothing waits for the device.
    """
    groups = optimizer.param_groups
    if not all("d" in group and "lr" in group for group in groups):
        return ()
    return tuple(
        _rate(group["d"] if group.get("shared_d") is None else group["shared_d"], group["lr"]) for group in groups
    )


def _rate(d: Scalar, learning_rate: Scalar) -> AdaptedRate:
    own = d.detach().clone() if isinstance(d, torch.Tensor) else d  # the optimizer goes on to write into its tensor
    return AdaptedRate(own, own * learning_rate)
