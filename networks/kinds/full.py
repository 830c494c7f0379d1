"""Full differences: the whole weight of a layer is trained, and saved as what it differs by from the base model's."""

from typing import Any, ClassVar, Self

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from networks.kinds.construction import dropouts_of
from networks.layers.adapted_layer import AdaptedLayer, Tensors
from networks.layers.computing_precision import HALF_PRECISIONS, computing_precision, in_computing_precision
from networks.layers.convolution_geometry import ConvolutionGeometry, convolution_gradients
from networks.layers.dropouts import NO_DROPOUT, Dropouts
from networks.layers.summed_products import summed
from networks.targeting.targets import LayerSize, Target

WEIGHT, BIAS = "diff", "diff_b"


class FullLayer(AdaptedLayer):
    """delta W = diff, delta b = diff_b; zero at the start.

    Attributes:
        diff: in the weight's shape.
        diff_b: (out,), if the layer has a bias.
    """

    SUFFIXES: ClassVar = frozenset({WEIGHT, BIAS})

    def __init__(
        self,
        name: str,
        layer: nn.Linear | nn.Conv2d,
        with_bias: bool,
        multiplier: float = 1.0,
        dropouts: Dropouts = NO_DROPOUT,
    ):
        super().__init__(name, layer, multiplier, dropouts)
        self.diff = nn.Parameter(torch.zeros(layer.weight.shape))
        self.register_parameter(BIAS, nn.Parameter(torch.zeros(len(layer.weight))) if with_bias else None)

    @classmethod
    def build(cls, target: Target, size: LayerSize, arguments: Any, multiplier: float) -> Self:
        has_bias = target.layer.bias is not None
        return cls(target.name, target.layer, has_bias, multiplier, dropouts_of(arguments))

    @classmethod
    def recognises(cls, tensors: Tensors) -> bool:
        return WEIGHT in tensors

    @classmethod
    def from_tensors(cls, name: str, layer: nn.Module, tensors: Tensors, multiplier: float = 1.0) -> Self:
        made = cls(name, layer, BIAS in tensors, multiplier)
        made.load_tensors(tensors)
        return made

    def load_tensors(self, tensors: Tensors) -> None:
        """What a file leaves out of a bias's change is zero."""
        left_out = {} if self.diff_b is None else {BIAS: torch.zeros_like(self.diff_b)}
        super().load_tensors(left_out | dict(tensors))

    def delta_weight(self) -> torch.Tensor:
        return self.diff

    def delta_bias(self) -> torch.Tensor | None:
        return self.diff_b

    def adapted_output(self, x: torch.Tensor) -> torch.Tensor:
        geometry, bias = self.geometry(), self._changed_bias()
        if computing_precision(x) not in HALF_PRECISIONS:
            x, bias = in_computing_precision(x, bias)
            if geometry is not None:
                x, geometry = geometry.bordered(x)
            return _ChangedProduct.apply(x, self.layer.weight, self.diff, bias, self.multiplier, geometry)
        # at strength 1 the trained weight itself is handed on, so that no copy of it is kept for the backward pass
        terms = [(x, self.layer.weight), (x, self.diff if self.multiplier == 1 else self.multiplier * self.diff)]
        return summed(terms, bias, geometry)

    def _changed_bias(self) -> torch.Tensor | None:
        bias = self.layer.bias
        if self.diff_b is None:
            return bias
        change = self.multiplier * self.diff_b
        return change if bias is None else bias + change

    def shrink(self, ratio: torch.Tensor) -> None:
        """The change of the bias is scaled with that of the weight, so that both remain one change."""
        for difference in self.parameters():
            difference.mul_(ratio)


class _ChangedProduct(torch.autograd.Function):
    """The layer's output with W + strength * diff, which is formed again for the backward pass instead of being kept.

    `geometry` is that of a convolution, whose border is of zeros, or None for linear layers.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        diff: torch.Tensor,
        bias: torch.Tensor | None,
        strength: float,
        geometry: ConvolutionGeometry | None,
    ) -> torch.Tensor:
        ctx.strength, ctx.geometry = strength, geometry
        ctx.save_for_backward(x, weight, diff)
        changed = _changed_weight(weight, diff, strength, x.dtype)
        return functional.linear(x, changed, bias) if geometry is None else geometry.convolve(x, changed, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, diff = ctx.saved_tensors
        needs_x, needs_weight, needs_diff, needs_bias, *_ = ctx.needs_input_grad
        changed = _changed_weight(weight, diff, ctx.strength, x.dtype) if needs_x or ctx.geometry is not None else None
        needed = needs_x, needs_weight or needs_diff
        if ctx.geometry is not None:
            of_x, of_weight = convolution_gradients(gradient, x, changed, ctx.geometry, *needed)
            of_bias = gradient.sum([0, 2, 3]) if needs_bias else None
        else:
            rows = gradient.reshape(-1, gradient.shape[-1])
            of_x = gradient @ changed if needs_x else None
            of_weight = rows.t() @ x.reshape(-1, x.shape[-1]) if needed[1] else None
            of_bias = rows.sum(0) if needs_bias else None
        of_diff = ctx.strength * of_weight if needs_diff and ctx.strength != 1 else of_weight
        return of_x, of_weight if needs_weight else None, of_diff if needs_diff else None, of_bias, None, None


def _changed_weight(weight: torch.Tensor, diff: torch.Tensor, strength: float, dtype: torch.dtype) -> torch.Tensor:
    return torch.add(weight.to(dtype), diff.to(dtype), alpha=strength)
