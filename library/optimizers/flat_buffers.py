"""Weights, gradients and moments of many small tensors, each kind in one buffer.

The networks that are trained here consist of hundreds or thousands of small matrices, for which an optimizer costs more
in calls than in arithmetic.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import torch
from torch import Tensor
from torch.nn import Parameter

_ALIGNMENT = 8
"""Elements; with 16 bytes, GPUs multiply matrices in half precision fastest. What lies between two parameters is 0."""


@dataclass(frozen=True)
class Moments:
    """What AdamW knows of one parameter."""

    steps: int
    """taken so far"""
    exp_avg: Tensor
    """mean of gradients; float32, shape of the parameter"""
    exp_avg_sq: Tensor
    """mean of their squares; float32, shape of the parameter"""


@dataclass(frozen=True)
class Run:
    """Neighbours that have a gradient and took the same number of steps."""

    parameters: slice
    elements: slice
    """where they lie in the buffers"""
    steps: int
    """that they took so far"""


class FlatBuffers:
    """Parameters of one device and data type, which become views of one buffer."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = list(parameters)
        starts = list(accumulate((_aligned(parameter.numel()) for parameter in parameters), initial=0))
        self._bounds = [
            (start, start + parameter.numel()) for start, parameter in zip(starts, parameters, strict=False)
        ]
        device, dtype = parameters[0].device, parameters[0].dtype
        self.weights = torch.zeros(starts[-1], device=device, dtype=dtype)
        self.exp_avg = torch.zeros(starts[-1], device=device)
        self.exp_avg_sq = torch.zeros(starts[-1], device=device)
        self._gradients: Tensor | None = None
        self._gradient_views: list[Tensor] = []
        self._steps = [0] * len(parameters)
        for parameter, view in zip(parameters, self._views_of(self.weights), strict=True):
            view.copy_(parameter.detach())
            parameter.data = view
        self._addresses = self._current_addresses()

    def load(self, known: Mapping[Parameter, Moments]) -> None:
        """Takes over the moments of the parameters that have some; the others begin anew."""
        self.exp_avg.zero_()
        self.exp_avg_sq.zero_()
        self._steps = [0] * len(self.parameters)
        averages, squares = self._views_of(self.exp_avg), self._views_of(self.exp_avg_sq)
        for index, parameter in enumerate(self.parameters):
            if parameter in known:
                moments = known[parameter]
                self._steps[index] = moments.steps
                averages[index].copy_(moments.exp_avg)
                squares[index].copy_(moments.exp_avg_sq)

    def _views_of(self, buffer: Tensor) -> list[Tensor]:
        return [
            buffer[start:end].view(parameter.shape)
            for parameter, (start, end) in zip(self.parameters, self._bounds, strict=True)
        ]

    def _current_addresses(self) -> list[int]:
        return [parameter.data_ptr() for parameter in self.parameters]

    @property
    def holds_weights(self) -> bool:
        """Whether the parameters still are where they were put: somebody may have given them other storage."""
        return self._current_addresses() == self._addresses

    @property
    def gradients(self) -> Tensor:
        """As `gather` left them: 0 where there are none."""
        assert self._gradients is not None
        return self._gradients

    def moments(self) -> Iterator[tuple[Parameter, Moments]]:
        """Of parameters that took a step; views of the buffers."""
        averages, squares = self._views_of(self.exp_avg), self._views_of(self.exp_avg_sq)
        for parameter, steps, average, square in zip(self.parameters, self._steps, averages, squares, strict=True):
            if steps > 0:
                yield parameter, Moments(steps, average, square)

    def gather(self) -> list[Run]:
        """Copies gradients into their buffer, in which each parameter's `grad` lies from then on; those that are there
        already stay. Parameters without a gradient have none afterwards either.

        Returns:
            Where the others lie.
        """
        gradients = [parameter.grad for parameter in self.parameters]
        if self._gradients is None:
            self._gradients = torch.zeros_like(self.weights)
            self._gradient_views = self._views_of(self._gradients)
        moved = [
            (parameter, view, gradient)
            for parameter, view, gradient in zip(self.parameters, self._gradient_views, gradients, strict=True)
            if gradient is not None and gradient is not view
        ]
        if moved:
            torch._foreach_copy_([view for _, view, _ in moved], [gradient for _, _, gradient in moved])
            for parameter, view, _ in moved:
                parameter.grad = view
        missing = [view for view, gradient in zip(self._gradient_views, gradients, strict=True) if gradient is None]
        if missing:
            torch._foreach_zero_(missing)
        return list(self._runs([gradient is not None for gradient in gradients]))

    def _runs(self, has_gradient: Sequence[bool]) -> Iterator[Run]:
        first = 0
        for (moves, steps), members in groupby(zip(has_gradient, self._steps, strict=True)):
            last = first + len(list(members))
            if moves:
                elements = slice(self._bounds[first][0], self._bounds[last - 1][1])
                yield Run(slice(first, last), elements, steps)
            first = last

    def count_step(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self._steps[run.parameters] = [run.steps + 1] * (run.parameters.stop - run.parameters.start)

    def forget_gradients(self) -> None:
        """Leaves the gradients' memory to the next forward and backward pass, once no parameter's `grad` lies there.

        Only on a GPU, where memory is short and quick to get: on a CPU, getting it anew takes longer than the step.
        """
        if self.weights.device.type != "cpu":
            self._gradients, self._gradient_views = None, []


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
