"""Losses and norms for display, read without making the device wait."""

import math
from collections import deque
from dataclasses import dataclass

import torch

from library.training.weight_norms import Scalar, WeightNorms


@dataclass(frozen=True)
class StepLoss:
    step: int
    value: float
    learning_rates: tuple[float, ...]
    """in force at that step, one per optimizer group"""
    norms: WeightNorms | None = None
    """numbers; None = they are not limited, or the step was skipped"""


@dataclass(frozen=True)
class _Pending:
    step: int
    loss: Scalar
    learning_rates: tuple[float, ...]
    norms: WeightNorms | None
    arrived: torch.cuda.Event | None


class LossRecord:
    """Collects one loss per optimizer step; each becomes a number once the device has caught up with it."""

    def __init__(self, window: int):
        """
        Args:
            window: steps the running average covers; an epoch, as users of other trainers are used to.
        """
        self._pending: deque[_Pending] = deque()
        self._recent: deque[float] = deque(maxlen=window)

    def add(
        self, step: int, loss: torch.Tensor, learning_rates: tuple[float, ...], norms: WeightNorms | None = None
    ) -> None:
        """Starts copying the scalars to the CPU and returns at once."""
        on_its_way = _on_its_way(loss)
        norms_on_their_way = None if norms is None else WeightNorms(*map(_on_its_way, norms))
        arrived = None
        if loss.device.type == "cuda":
            arrived = torch.cuda.Event()
            arrived.record()
        self._pending.append(_Pending(step, on_its_way, learning_rates, norms_on_their_way, arrived))

    def ready(self, wait: bool = False) -> list[StepLoss]:
        """The losses that have arrived since the last call; with `wait`, all that were added."""
        arrived = []
        while self._pending:
            first = self._pending[0]
            if first.arrived is not None and not first.arrived.query():
                if not wait:
                    break
                first.arrived.synchronize()
            self._pending.popleft()
            value = float(first.loss)
            self._recent.append(value)
            norms = None if first.norms is None else WeightNorms(*map(float, first.norms))
            arrived.append(StepLoss(first.step, value, first.learning_rates, norms))
        return arrived

    @property
    def average(self) -> float:
        """Mean over the window; NaN before the first loss."""
        return sum(self._recent) / len(self._recent) if self._recent else math.nan


def _on_its_way(value: Scalar) -> Scalar:
    """What will be the value on the CPU once the device has done all that was asked of it."""
    if not isinstance(value, torch.Tensor) or value.device.type != "cuda":
        return value
    copy = torch.empty((), dtype=value.dtype, pin_memory=True)
    copy.copy_(value, non_blocking=True)
    return copy
