"""Sums of several products, as if they were one layer.

In half precision the terms are summed in the fp32 accumulator of one product and rounded once, so that a small term
beside a large one is not lost.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from networks.layers.computing_precision import HALF_PRECISIONS, computing_precision, in_full_precision
from networks.layers.convolution_geometry import ConvolutionGeometry, convolution_gradients

Terms = Sequence[tuple[Tensor, Tensor]]


def summed(terms: Terms, bias: Tensor | None, geometry: ConvolutionGeometry | None) -> Tensor:
    """What a layer computes from several pairs of input and weight: a convolution, or a linear one without geometry."""
    return summed_linear(terms, bias) if geometry is None else summed_convolution(terms, bias, geometry)


def summed_linear(terms: Terms, bias: Tensor | None) -> Tensor:
    """The sum of x W^T over all terms (x, W), plus bias, of shape (..., out).

    Args:
        terms: x (..., in) and W (out, in); `in` may differ between the terms. The largest term comes first.
        bias: (out,). Every tensor may require gradients.
    """
    inputs, weights, bias = _in_one_precision(terms, bias)
    x = inputs[0]
    if _is_one(inputs) and x.dtype not in HALF_PRECISIONS:
        return functional.linear(x, _sum(weights, x.dtype), bias)
    return _SummedLinear.apply(bias, *inputs, *weights)


def summed_convolution(terms: Terms, bias: Tensor | None, geometry: ConvolutionGeometry) -> Tensor:
    """The same for convolutions: x (batch, in, height, width) and W (out, in / groups, kernel height, kernel width)."""
    is_half = computing_precision(terms[0][0]) in HALF_PRECISIONS
    if is_half and geometry.groups != 1:
        return in_full_precision(partial(_convolve_each, geometry), *_unzipped(terms), bias)
    inputs, weights, bias = _in_one_precision(terms, bias)
    if is_half:
        bordered = [geometry.bordered(x) for x in inputs]
        return _SummedConvolution.apply(bordered[0][1], bias, *(x for x, _ in bordered), *weights)
    if _is_one(inputs):
        return geometry.convolve(inputs[0], _sum(weights, inputs[0].dtype), bias)
    return _convolve_each(geometry, *inputs, *weights, bias)


class _SummedLinear(torch.autograd.Function):
    """Arguments: the bias, every x, every W."""

    @staticmethod
    def forward(ctx: Any, bias: Tensor | None, *tensors: Tensor) -> Tensor:
        inputs, weights = _halves(tensors)
        shape, dtype = inputs[0].shape[:-1], inputs[0].dtype
        rows = [x.reshape(-1, x.shape[-1]) for x in inputs]
        matrices = [weight.to(dtype).t() for weight in weights]
        if bias is not None and dtype in HALF_PRECISIONS:
            output = torch.addmm(bias, torch.cat(rows, 1), torch.cat(matrices, 0))
        else:  # smallest first: each is added to the next one's accumulator
            output = rows[-1] @ matrices[-1] if bias is None else torch.addmm(bias, rows[-1], matrices[-1])
            for x, matrix in list(zip(rows, matrices, strict=True))[-2::-1]:
                output.addmm_(x, matrix)
        ctx.has_one_input, ctx.dtype = _is_one(inputs), dtype
        _, *needs = ctx.needs_input_grad
        kept = (x if needed else None for x, needed in zip(inputs, _halves(needs)[1], strict=True))
        ctx.save_for_backward(*kept, *weights)
        return output.view(*shape, output.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights = _halves(ctx.saved_tensors)
        needs_bias, *needs = ctx.needs_input_grad
        needs_x, needs_weight = _halves(needs)
        rows = gradient.reshape(-1, gradient.shape[-1])
        of_inputs: list[Tensor | None] = [None] * len(inputs)
        for place, (weight, needed) in enumerate(zip(weights, needs_x, strict=True)):
            if not needed:
                continue
            if ctx.has_one_input and place > 0:
                of_inputs[0].addmm_(rows, weight.to(ctx.dtype))
            else:
                of_inputs[place] = rows @ weight.to(ctx.dtype)
        return (
            rows.sum(0) if needs_bias else None,
            *(None if of_x is None else of_x.view(*gradient.shape[:-1], -1) for of_x in of_inputs),
            *(
                rows.t() @ x.reshape(-1, x.shape[-1]) if needed else None
                for x, needed in zip(inputs, needs_weight, strict=True)
            ),
        )


class _SummedConvolution(torch.autograd.Function):
    """One convolution over the channels of all terms. Arguments: the geometry, the bias, every x, every W."""

    @staticmethod
    def forward(ctx: Any, geometry: ConvolutionGeometry, bias: Tensor | None, *tensors: Tensor) -> Tensor:
        inputs, weights = _halves(tensors)
        dtype = inputs[0].dtype
        ctx.geometry = geometry
        ctx.save_for_backward(*tensors)
        return geometry.convolve(torch.cat(inputs, 1), torch.cat([weight.to(dtype) for weight in weights], 1), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights = _halves(ctx.saved_tensors)
        _, needs_bias, *needs = ctx.needs_input_grad
        pairs = [
            convolution_gradients(gradient, x, weight.to(x.dtype), ctx.geometry, *needed)
            for x, weight, *needed in zip(inputs, weights, *_halves(needs), strict=True)
        ]
        of_inputs, of_weights = zip(*pairs, strict=True)
        return None, gradient.sum([0, 2, 3]) if needs_bias else None, *of_inputs, *of_weights


def _convolve_each(geometry: ConvolutionGeometry, *tensors: Tensor | None) -> Tensor:
    """The sum of single convolutions. Arguments: the geometry, every x, every W, the bias."""
    *inputs_and_weights, bias = tensors
    inputs, weights = _halves(inputs_and_weights)
    first, *others = (geometry.convolve(x, weight) for x, weight in zip(inputs, weights, strict=True))
    total = sum(others, first)
    return total if bias is None else total + bias.view(-1, 1, 1)


def _in_one_precision(terms: Terms, bias: Tensor | None) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
    """Inputs, weights and bias. A weight that is a parameter, or frozen, is converted where it is used instead: what
    is kept for the backward pass is then the weight that exists anyway."""
    dtype = computing_precision(terms[0][0])
    converted: dict[int, Tensor] = {}  # the same x stays one tensor
    inputs = [converted.setdefault(id(x), x.to(dtype)) for x, _ in terms]
    weights = [weight if weight.is_leaf else weight.to(dtype) for _, weight in terms]
    return inputs, weights, None if bias is None else bias.to(dtype)


def _is_one(inputs: Sequence[Tensor]) -> bool:
    return all(x is inputs[0] for x in inputs)


def _sum(weights: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    first, *others = (weight.to(dtype) for weight in weights)
    return sum(others, first)


def _unzipped(terms: Terms) -> tuple[Tensor, ...]:
    inputs, weights = zip(*terms, strict=True)
    return (*inputs, *weights)


def _halves(values: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    middle = len(values) // 2
    return values[:middle], values[middle:]
