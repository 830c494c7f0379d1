"""Losses for display, read without making the device wait."""

import math
from collections import deque
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class StepLoss:
    step: int
    value: float
    learning_rates: tuple[float, ...]
    """in force at that step, one per optimizer group"""


@dataclass(frozen=True)
class _Pending:
    step: int
    loss: torch.Tensor
    learning_rates: tuple[float, ...]
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

    def add(self, step: int, loss: torch.Tensor, learning_rates: tuple[float, ...]) -> None:
        """Starts copying a scalar to the CPU and returns at once."""
        if loss.device.type != "cuda":
            self._pending.append(_Pending(step, loss, learning_rates, None))
            return
        copy = torch.empty((), dtype=loss.dtype, pin_memory=True)
        copy.copy_(loss, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._pending.append(_Pending(step, copy, learning_rates, event))

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
            arrived.append(StepLoss(first.step, value, first.learning_rates))
        return arrived

    @property
    def average(self) -> float:
        """Mean over the window; NaN before the first loss."""
        return sum(self._recent) / len(self._recent) if self._recent else math.nan
