"""Weights in bfloat16 that keep small updates, by rounding at random (Gupta et al. 2015, arXiv 1502.02551).

bfloat16 has 8 significant bits: rounded to the nearest, a weight does not move at all when an update is less than a
512th to a 256th of it, as most are.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import Parameter

from library.optimizers.flat_adamw import FlatAdamW
from library.randomness import derive_seed

_DROPPED_BITS = 16
"""by which float32 is longer than bfloat16"""


def stochastically_rounded(values: Tensor, generator: torch.Generator) -> Tensor:
    """Each value as one of its two neighbours in bfloat16, the nearer one with the greater probability, so that it is
    exact on average. What bfloat16 holds exactly, infinities and NaN stay.

    Args:
        values: float32.
        generator: on their device.
    """
    bits = values.view(torch.int32)
    draws = torch.empty_like(bits).random_(0, 1 << _DROPPED_BITS, generator=generator)
    # a carry out of the dropped bits makes the magnitude the next greater one in bfloat16
    rounded = draws.add_(bits).bitwise_and_(-1 << _DROPPED_BITS).view(torch.float32)
    return torch.where(values.isfinite(), rounded, values).to(torch.bfloat16)


class StochasticRounding:
    """Draws of a training: those of a step follow from the seed and the step's number alone, on the same device."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.step = 0
        """steps that were begun"""
        self._generators: dict[torch.device, torch.Generator] = {}

    def begin_step(self) -> None:
        self.step += 1
        self._generators = {}

    def round(self, values: Tensor) -> Tensor:
        """float32 -> bfloat16"""
        device = values.device
        if device not in self._generators:
            seed = derive_seed(self._seed, "stochastic rounding", self.step)
            self._generators[device] = torch.Generator(device).manual_seed(seed)
        return stochastically_rounded(values, self._generators[device])

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step = state["step"]


def round_stochastically(optimizer: torch.optim.Optimizer, seed: int) -> StochasticRounding:
    """From now on, the optimizer's steps see weights in bfloat16, and their gradients, in float32, in which it then has
    its state, too; what it makes of the weights is rounded at random. Other weights are left as they are.

    That a state in float32 survives being loaded for weights in bfloat16 is up to keep_state_exact.

    Args:
        optimizer: itself, not wrapped; of any class that torch's hooks for steps work with.

    Returns:
        What a state to resume from has to hold beside the optimizer's.
    """
    rounding = StochasticRounding(seed)
    optimizer.register_step_pre_hook(lambda *_: rounding.begin_step())
    if isinstance(optimizer, FlatAdamW):
        optimizer.rounding = rounding.round
        return rounding
    widened = _Widened()
    optimizer.register_step_pre_hook(lambda *_: widened.begin(_with_gradient(_in_bfloat16(optimizer))))
    optimizer.register_step_post_hook(lambda *_: widened.end(rounding.round))
    return rounding


@contextmanager
def in_float32(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Weights in bfloat16 are float32 inside, as they are while the optimizer steps; in the end, what became of them is
    rounded to the nearest. For what an optimizer does with weights and its state beside the steps."""
    widened = _Widened()
    widened.begin(_in_bfloat16(optimizer))
    try:
        yield
    finally:
        widened.end(_to_nearest)


class _Widened:
    """Parameters that are in float32 for a time. Their own storage is written to in the end, since it may be a view."""

    def __init__(self) -> None:
        self._parameters: list[Parameter] = []
        self._weights: list[Tensor] = []
        self._gradients: list[Tensor | None] = []

    @torch.no_grad()
    def begin(self, parameters: list[Parameter]) -> None:
        self._parameters = parameters
        self._weights = [parameter.data for parameter in parameters]
        self._gradients = [parameter.grad for parameter in parameters]
        with_gradient = _with_gradient(parameters)
        gradients = _in_float32([gradient for gradient in self._gradients if gradient is not None])
        for parameter, weight in zip(parameters, _in_float32(self._weights), strict=True):
            parameter.grad = None  # of another type than the weight that comes
            parameter.data = weight
        for parameter, gradient in zip(with_gradient, gradients, strict=True):
            parameter.grad = gradient

    @torch.no_grad()
    def end(self, narrow: Callable[[Tensor], Tensor]) -> None:
        """
        Args:
            narrow: float32 -> bfloat16.
        """
        if not self._parameters:
            return
        values = narrow(torch.cat([parameter.detach().flatten() for parameter in self._parameters]))
        torch._foreach_copy_(self._weights, _split(values, self._weights))
        for parameter, weight, gradient in zip(self._parameters, self._weights, self._gradients, strict=True):
            parameter.grad = None
            parameter.data = weight
            parameter.grad = gradient
        self._parameters, self._weights, self._gradients = [], [], []


def _in_bfloat16(optimizer: torch.optim.Optimizer) -> list[Parameter]:
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    return [parameter for parameter in parameters if parameter.dtype == torch.bfloat16]


def _with_gradient(parameters: Sequence[Parameter]) -> list[Parameter]:
    return [parameter for parameter in parameters if parameter.grad is not None]


def _in_float32(tensors: Sequence[Tensor]) -> list[Tensor]:
    if not tensors:
        return []
    return _split(torch.cat([tensor.flatten() for tensor in tensors]).float(), tensors)


def _split(values: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    parts = torch.split(values, [tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


def _to_nearest(values: Tensor) -> Tensor:
    return values.to(torch.bfloat16)
