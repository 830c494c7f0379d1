"""Layers with a change that is as large as their weight, and that is made of far fewer numbers.

The change is formed for the forward pass, and formed once more for the backward pass: in between, only the input and
what the change is made of are kept. Autograd would keep the change, and everything that it was computed from.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from networks.layers.computing_precision import HALF_PRECISIONS, in_computing_precision
from networks.layers.convolution_geometry import ConvolutionGeometry, convolution_gradients
from networks.layers.summed_products import summed

FormChange = Callable[[], Tensor]


def output_with_formed_change(
    x: Tensor,
    form_change: FormChange,
    parameters: Sequence[Tensor],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    geometry: ConvolutionGeometry | None = None,
) -> Tensor:
    """x (W + change)^T + bias, or the convolution with such a weight. In half precision, the sum is rounded once.

    Args:
        x: (..., in), or (batch, in, height, width) if there is a geometry.
        form_change: returns the change, (out, in[, kernel height, kernel width]), computed from the parameters; the
            same each time.
        parameters: leaves of the autograd graph; they get gradients, nothing else that the change is made of does.
        weight, bias: frozen. None = the change's part of the output alone.
    """
    x, bias = in_computing_precision(x, bias)
    if geometry is not None:
        x, geometry = geometry.bordered(x)
    return _FormedChange.apply(x, weight, bias, geometry, form_change, *parameters)


class _FormedChange(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        geometry: ConvolutionGeometry | None,
        form_change: FormChange,
        *parameters: Tensor,
    ) -> Tensor:
        ctx.geometry, ctx.form_change, ctx.parameters = geometry, form_change, parameters
        ctx.autocast = torch.get_autocast_dtype(x.device.type), torch.is_autocast_enabled(x.device.type)
        ctx.save_for_backward(x, weight, *parameters)
        return _output(x, weight, form_change().to(x.dtype), bias, geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *_ = ctx.saved_tensors  # also refuses parameters that were changed since
        wanted = [parameter for parameter in ctx.parameters if parameter.requires_grad]
        with torch.autocast(x.device.type, *ctx.autocast):
            with torch.enable_grad():
                change = ctx.form_change()
            fixed = change.detach().to(x.dtype)
            to_x = _input_gradient(gradient, x, weight, fixed, ctx.geometry) if ctx.needs_input_grad[0] else None
            if wanted:
                to_change = _weight_gradient(gradient, x, fixed, ctx.geometry).to(change.dtype)
        found = torch.autograd.grad(change, wanted, to_change) if wanted else ()
        by_parameter = dict(zip(map(id, wanted), found, strict=True))
        return (to_x, None, None, None, None, *(by_parameter.get(id(parameter)) for parameter in ctx.parameters))


def _output(
    x: Tensor, weight: Tensor | None, change: Tensor, bias: Tensor | None, geometry: ConvolutionGeometry | None
) -> Tensor:
    return summed([(x, change)] if weight is None else [(x, weight), (x, change)], bias, geometry)


def _input_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor | None, change: Tensor, geometry: ConvolutionGeometry | None
) -> Tensor:
    if geometry is None:
        return _output(gradient, None if weight is None else weight.t(), change.t(), None, None)
    if weight is None:
        total = change
    elif x.dtype in HALF_PRECISIONS and geometry.groups == 1:  # one sum over the outputs of both, rounded once
        total, gradient = torch.cat([weight.to(x.dtype), change]), torch.cat([gradient, gradient], 1)
    else:
        total = weight.to(x.dtype) + change
    return convolution_gradients(gradient, x, total, geometry, True, False)[0]


def _weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor, geometry: ConvolutionGeometry | None) -> Tensor:
    if geometry is None:
        return gradient.reshape(-1, gradient.shape[-1]).t() @ x.reshape(-1, x.shape[-1])
    return convolution_gradients(gradient, x, weight, geometry, False, True)[1]
