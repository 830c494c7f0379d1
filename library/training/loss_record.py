"""Losses and what else is measured at each step, for display, read without making the device wait."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from library.optimizers.adapted_rates import Scalar
from library.training.host_copies import HostCopies


@dataclass(frozen=True)
class StepLoss:
    step: int
    value: float
    learning_rates: tuple[float, ...]
    """in force at that step, one per optimizer group"""
    measured: Mapping[str, float]
    """log name -> value; empty where nothing more is measured"""


@dataclass(frozen=True)
class _Step:
    """What is known of a step before its tensors have arrived."""

    step: int
    learning_rates: tuple[float, ...]
    measured: Mapping[str, Scalar]
    tensors: tuple[str, ...]
    """Names of the measured values that arrive behind the loss."""


class LossRecord:
    """Collects one loss per optimizer step; each becomes a number once the device has caught up with it."""

    def __init__(self, window: int):
        """
        Args:
            window: steps the running average covers; an epoch, as users of other trainers are used to.
        """
        self._copies: HostCopies[_Step] = HostCopies()
        self._recent: deque[float] = deque(maxlen=window)

    def add(
        self,
        step: int,
        loss: torch.Tensor,
        learning_rates: tuple[float, ...],
        measured: Mapping[str, Scalar] | None = None,
    ) -> None:
        """Starts copying the scalars to the CPU, all at once as float32, and returns.

        Args:
            measured: log name -> scalar; numbers, and tensors on the CPU or on the loss's device.
        """
        measured = dict(measured or {})
        on_device = {
            name: value
            for name, value in measured.items()
            if isinstance(value, torch.Tensor) and value.device == loss.device
        }
        scalars = [value.detach().float().reshape(()) for value in (loss, *on_device.values())]
        numbers = {name: math.nan if name in on_device else float(value) for name, value in measured.items()}
        self._copies.send(_Step(step, learning_rates, numbers, tuple(on_device)), torch.stack(scalars))

    def ready(self, wait: bool = False) -> list[StepLoss]:
        """The losses that have arrived since the last call; with `wait`, all that were added."""
        losses = []
        for sent, values in self._copies.arrived(wait):
            loss, *numbers = values.tolist()
            self._recent.append(loss)
            measured = {**sent.measured, **dict(zip(sent.tensors, numbers, strict=True))}
            losses.append(StepLoss(sent.step, loss, sent.learning_rates, measured))
        return losses

    @property
    def average(self) -> float:
        """Mean over the window; NaN before the first loss."""
        return sum(self._recent) / len(self._recent) if self._recent else math.nan
