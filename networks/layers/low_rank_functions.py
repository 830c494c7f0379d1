"""Frozen layers with a low-rank change, as functions on tensors (Hu et al. 2021, arXiv 2106.09685, equation 3).

Between forward and backward, only the input and its projection on the ranks are kept. Where a layer's output and the
change's are each rounded to half precision and then added, changes below the output's last bit are lost. Here they are
summed in the fp32 accumulator of one product and rounded once: linear layers write the change first and let the base
product add to it; with a bias, and in convolutions, the change's factors widen the base's, [x, x down^T] [W, up]^T.

Every function takes a `factor`, one number for each input, with which x is multiplied first, and a `divisor` of what is
added to the bias. DoRA needs them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from networks.layers.computing_precision import HALF_PRECISIONS, in_computing_precision, in_full_precision
from networks.layers.convolution_geometry import ConvolutionGeometry, convolution_gradients
from networks.layers.multiplied_values import factor_gradient, multiplied

POINTWISE = ConvolutionGeometry((1, 1), (0, 0), (1, 1), 1)


def low_rank_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    down: Tensor,
    up: Tensor,
    scale: float,
    mask: Tensor | None = None,
    factor: Tensor | None = None,
    divisor: float = 1.0,
    shared: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """x W^T + bias + scale * ((x down^T) * mask) up^T, of shape (..., out).

    Args:
        x: (..., in).
        weight, bias: (out, in), (out,); frozen, of any precision.
        down, up: (rank, in), (out, rank); trained, of any precision.
        mask: multiplied with the inner values, (..., rank) or what broadcasts to it; gets no gradient.
        factor: (in,); if given, x * factor takes the place of x. In fp32, so that it can be close to 1.
        divisor: of everything but the bias.
        shared: x and x down^T in the precision that is computed in, if they are known (see shared_projection). These
            are values: gradients go to x and down themselves.
    """
    if _is_trained(weight, bias):
        return in_full_precision(plain_low_rank_linear, x, weight, bias, down, up, scale, mask, factor, divisor)
    if shared is None:
        x, bias, down, up, mask = in_computing_precision(x, bias, down, up, mask)
        return _LowRankLinear.apply(x, None, weight, bias, down, up, scale, mask, factor, divisor, None)
    values, bias, down, up, mask, projection = in_computing_precision(shared[0], bias, down, up, mask, shared[1])
    return _LowRankLinear.apply(x, values, weight, bias, down, up, scale, mask, factor, divisor, projection)


def low_rank_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    down: Tensor,
    up: Tensor,
    scale: float,
    geometry: ConvolutionGeometry,
    mask: Tensor | None = None,
    factor: Tensor | None = None,
    divisor: float = 1.0,
) -> Tensor:
    """The same for a convolution, whose change has the weight scale * up @ down.

    Args:
        x: (batch, in, height, width).
        weight, bias: (out, in / groups, kernel height, kernel width), (out,); frozen, of any precision.
        down, up: (rank, in / groups, kernel height, kernel width), (out, rank, 1, 1); trained, of any precision.
        mask: multiplied with the inner values, (batch, rank, height, width) or what broadcasts to it.
        factor, divisor: as in `low_rank_linear`.
    """
    if _is_trained(weight, bias) or geometry.groups != 1 or not geometry.aligns_with_input(weight.shape[2:]):
        arguments = (weight, bias, down, up, scale, geometry, mask, factor, divisor)
        return in_full_precision(plain_low_rank_convolution, x, *arguments)
    x, bias, down, up, mask = in_computing_precision(x, bias, down, up * scale, mask)
    x, geometry = geometry.bordered(x)
    return _LowRankConvolution.apply(x, weight, bias, down, up, geometry, mask, factor, divisor)


def plain_low_rank_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    down: Tensor,
    up: Tensor,
    scale: float,
    mask: Tensor | None = None,
    factor: Tensor | None = None,
    divisor: float = 1.0,
) -> Tensor:
    """`low_rank_linear` as one would write it down; every argument may require gradients."""
    if factor is not None:
        x = x * factor
    inner = functional.linear(x, down)
    if mask is not None:
        inner = inner * mask
    output = (functional.linear(x, weight) + scale * functional.linear(inner, up)) / divisor
    return output if bias is None else output + bias


def plain_low_rank_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    down: Tensor,
    up: Tensor,
    scale: float,
    geometry: ConvolutionGeometry,
    mask: Tensor | None = None,
    factor: Tensor | None = None,
    divisor: float = 1.0,
) -> Tensor:
    """`low_rank_convolution` as one would write it down; each group of a grouped convolution has its inner values."""
    groups = geometry.groups
    if factor is not None:
        x = x * factor.view(-1, 1, 1)
    inner = geometry.convolve(x, down.repeat(groups, 1, 1, 1))
    if mask is not None:
        inner = (inner.unflatten(1, (groups, -1)) * mask.unsqueeze(-4)).flatten(1, 2)
    output = (geometry.convolve(x, weight) + scale * functional.conv2d(inner, up, groups=groups)) / divisor
    return output if bias is None else output + bias.view(-1, 1, 1)


def scaled_product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """scale * left @ right; the scale costs nothing within the product."""
    return torch.addmm(left.new_empty(()), left, right, beta=0, alpha=scale)


def linear_with_change(
    x: Tensor, weight: Tensor, bias: Tensor | None, inner: Tensor, up: Tensor, scale: float, divisor: float = 1.0
) -> Tensor:
    """(x W^T + scale * inner up^T) / divisor + bias, rounded once. All are matrices of one precision."""
    if bias is not None and x.dtype in HALF_PRECISIONS:
        wide_weight = torch.cat([weight, up * scale], 1)
        return torch.addmm(bias, torch.cat([x, inner], 1), wide_weight.t(), alpha=1 / divisor)
    if bias is None:
        output = scaled_product(inner, up.t(), scale / divisor)
    else:
        output = torch.addmm(bias, inner, up.t(), alpha=scale / divisor)
    return output.addmm_(x, weight.t(), alpha=1 / divisor)


def rows_of(x: Tensor) -> Tensor:
    """x (..., width) as a matrix; without a copy if its memory allows it."""
    return x.reshape(-1, x.shape[-1])


def _masked_rows(inner: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
    """inner * mask: (rows of x, rank), where the mask broadcasts to (..., rank) for x (..., in)."""
    return inner if mask is None else rows_of(inner.view(*x.shape[:-1], inner.shape[-1]) * mask)


class _LowRankLinear(torch.autograd.Function):
    """If there are values of x, it computes with these, and x itself, which may be wider, gets the gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        values: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        scale: float,
        mask: Tensor | None,
        factor: Tensor | None,
        divisor: float,
        projection: Tensor | None,
    ) -> Tensor:
        values = x if values is None else values
        rows = rows_of(values) if factor is None else multiplied(rows_of(values), factor)
        inner = _masked_rows(rows @ down.t() if projection is None else rows_of(projection), x, mask)
        output = linear_with_change(rows, weight.to(rows.dtype), bias, inner, up, scale, divisor)
        ctx.scale, ctx.divisor = scale / divisor, divisor
        ctx.save_for_backward(values, weight, down, up, inner, mask, factor)
        return output.view(*x.shape[:-1], output.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, down, up, inner, mask, factor = ctx.saved_tensors
        needs_x, _, _, _, needs_down, needs_up, _, _, needs_factor, _, _ = ctx.needs_input_grad
        rows, gradient = rows_of(x), rows_of(gradient)
        x_gradient = down_gradient = up_gradient = by_factor = None
        if needs_up:
            up_gradient = scaled_product(gradient.t(), inner, ctx.scale)
        inner_gradient = _masked_rows(scaled_product(gradient, up, ctx.scale), x, mask)
        if needs_down:
            down_gradient = inner_gradient.t() @ rows
            if factor is not None:
                down_gradient.mul_(factor)
        if needs_x or needs_factor:
            x_gradient = (inner_gradient @ down).addmm_(gradient, weight.to(x.dtype), alpha=1 / ctx.divisor)
            if factor is not None:
                x_gradient, by_factor = multiplied(x_gradient, factor), factor_gradient(x_gradient, rows, [0])
            x_gradient = x_gradient.view(x.shape)
        return x_gradient, None, None, None, down_gradient, up_gradient, None, None, by_factor, None, None


class _LowRankConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        geometry: ConvolutionGeometry,
        mask: Tensor | None,
        factor: Tensor | None,
        divisor: float,
    ) -> Tensor:
        product = x if factor is None else multiplied(x, factor.view(-1, 1, 1))
        inner = geometry.convolve(product, down)
        if mask is not None:
            inner.mul_(mask)
        output = _convolution_with_change(product, weight.to(x.dtype), bias, inner, up, geometry, divisor)
        ctx.geometry, ctx.divisor = geometry, divisor
        ctx.save_for_backward(x, weight, down, up, inner, mask, factor)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, down, up, inner, mask, factor = ctx.saved_tensors
        needs_x, _, _, needs_down, needs_up, _, _, needs_factor, _ = ctx.needs_input_grad
        needs_product = needs_x or needs_factor
        inner_gradient, up_gradient = convolution_gradients(
            gradient, inner, up, POINTWISE, needs_product or needs_down, needs_up
        )
        if up_gradient is not None and ctx.divisor != 1:
            up_gradient.div_(ctx.divisor)
        if mask is not None and inner_gradient is not None:
            inner_gradient.mul_(mask)
        x_gradient = down_gradient = None
        if inner_gradient is not None:
            x_gradient, down_gradient = convolution_gradients(
                inner_gradient, x, down, ctx.geometry, needs_product, needs_down
            )
        if x_gradient is not None:
            x_gradient += convolution_gradients(gradient, x, weight.to(x.dtype), ctx.geometry, True, False)[0]
        by_factor = None
        if factor is not None:
            weighted = factor.view(-1, 1, 1) / ctx.divisor
            if down_gradient is not None:
                down_gradient.mul_(weighted)
            if x_gradient is not None:
                of_product, x_gradient = x_gradient, multiplied(x_gradient, weighted)
                by_factor = factor_gradient(of_product, x, [0, 2, 3]) / ctx.divisor
        return x_gradient, None, None, down_gradient, up_gradient, None, None, by_factor, None


def _convolution_with_change(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    inner: Tensor,
    up: Tensor,
    geometry: ConvolutionGeometry,
    divisor: float,
) -> Tensor:
    """(x * W + inner * up) / divisor + bias, the sum of products rounded once."""
    late_bias = None if divisor == 1 else bias
    early_bias = bias if divisor == 1 else None
    if x.dtype in HALF_PRECISIONS:
        x = torch.cat([x, _spread(inner, geometry.stride, x.shape)], 1)
        weight = torch.cat([weight, _placed_at(geometry.aligned_tap, up, weight.shape)], 1)
        output = geometry.convolve(x, weight, early_bias)
    else:
        output = geometry.convolve(x, weight, early_bias).add_(functional.conv2d(inner, up))
    if divisor != 1:
        output.div_(divisor)
    return output if late_bias is None else output.add_(late_bias.view(-1, 1, 1))


def _spread(inner: Tensor, stride: tuple[int, int], input_shape: torch.Size) -> Tensor:
    """The inner values, of the output's size, at the pixels of the input where a convolution with a stride stands."""
    if stride == (1, 1) and inner.shape[2:] == input_shape[2:]:
        return inner
    spread = inner.new_zeros(*inner.shape[:2], *input_shape[2:])
    (_, _, height, width), (vertical, horizontal) = inner.shape, stride
    spread[:, :, : height * vertical : vertical, : width * horizontal : horizontal] = inner
    return spread


def _placed_at(tap: tuple[int, int], up: Tensor, weight_shape: torch.Size) -> Tensor:
    """A kernel of the weight's size that is `up` (out, rank, 1, 1) at one tap and 0 elsewhere."""
    if weight_shape[2:] == (1, 1):
        return up
    kernel = up.new_zeros(*up.shape[:2], *weight_shape[2:])
    kernel[:, :, tap[0], tap[1]] = up[:, :, 0, 0]
    return kernel


def _is_trained(weight: Tensor, bias: Tensor | None) -> bool:
    return weight.requires_grad or (bias is not None and bias.requires_grad)
