"""Products of activations with factors that are close to 1."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from networks.layers.computing_precision import HALF_PRECISIONS

HALF_PRECISION_SHIFT = 0.825875
"""A half-precision number times a factor near 1 is rounded back to what it was. Multiplied with this number as well (by
which a later result is divided), products fall anywhere between two neighbours, so that over many values they are
rounded up and down as often as their distances say: as in stochastic rounding, but in one pass and without random
numbers. Of 4001 numbers in [1/2, 1] it is among the best for bf16's 128 mantissas: it keeps a factor to 5e-5 (plain
rounding to 4e-3) and the mean to 8e-6; of random differences from 1 by 5e-4, 99.8 % are kept, by 1e-4, 98 %. fp16 has
eight times as many mantissas."""


def grid_shift(dtype: torch.dtype) -> float:
    """With what to multiply values, besides, that `multiplied` is to round to a precision; 1 if it need not."""
    return HALF_PRECISION_SHIFT if dtype in HALF_PRECISIONS else 1.0


def multiplied(x: Tensor, factor: Tensor) -> Tensor:
    """x * factor, computed in the wider precision of both, in that of x."""
    if x.is_cuda:  # in one kernel, which never writes the wider product; on the CPU this is the slower way
        return torch.mul(x, factor, out=torch.empty_like(x))
    return (x * factor).to(x.dtype)


def factor_gradient(product_gradient: Tensor, x: Tensor, axes: list[int]) -> Tensor:
    """The gradient of a factor that is constant along these axes. Overwrites the product's gradient."""
    return product_gradient.mul_(x).sum(axes, dtype=torch.promote_types(x.dtype, torch.float32))


def multiplied_output(x: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
    """x * factor + bias for factor and bias that broadcast to x without its batch; x is not kept, the output is.

    Args:
        factor: (out,) for x (..., out), (out, 1, 1) for x (batch, out, height, width). In fp32.
    """
    return _MultipliedOutput.apply(x, factor, None if bias is None else bias.to(x.dtype))


class _MultipliedOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
        output = multiplied(x, factor)
        if bias is not None:
            output.add_(bias)
        ctx.save_for_backward(output, factor, bias)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        output, factor, bias = ctx.saved_tensors
        needs_x, needs_factor, needs_bias = ctx.needs_input_grad
        axes = [axis for axis in range(gradient.dim()) if axis != gradient.dim() - factor.dim()]
        wide = factor.dtype
        of_bias = by_factor = None
        if needs_bias or (needs_factor and bias is not None):
            of_bias = gradient.sum(axes, dtype=wide).view(factor.shape)
        if needs_factor:  # x is (output - bias) / factor; where the factor is 0, its gradient is lost
            by_factor = (gradient * output).sum(axes, dtype=wide).view(factor.shape)
            if bias is not None:
                by_factor -= bias * of_bias
            by_factor = torch.where(factor == 0, 0, by_factor / factor)
        return multiplied(gradient, factor) if needs_x else None, by_factor, of_bias if needs_bias else None
