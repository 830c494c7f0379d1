"""Frozen layers whose weights are stored in eight bits.

A weight is kept as float8 e4m3 (4 bits of exponent, 3 of mantissa; Micikevicius et al. 2022, arXiv 2209.05433) with
one scale per output channel, and computed with in 16 or 32 bits. It is expanded when the layer runs and again in the
backward pass, so that no expanded copy outlives the layer's own computation.
"""

from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

STORED = torch.float8_e4m3fn
LARGEST = torch.finfo(STORED).max
SMALLEST_SCALE = 2.0**-24
"""The smallest number of float16: a scale must exist in every precision that is computed in."""


def store_in_eight_bits(module: nn.Module, compute_dtype: torch.dtype) -> None:
    """Changes all nn.Linear and nn.Conv2d inside `module`, in place; everything else stays as it is.

    The layers keep their class. Their `weight` holds eight-bit numbers without the scale, for which there is a
    buffer `weight_scale`; who needs the weight itself asks the layer's `expanded_weight()`. The weights get no
    gradient. The layers may be moved to another device, but not cast to another dtype.

    Networks hook into a layer by wrapping its `forward`, so they have to be applied after this.

    Args:
        compute_dtype: precision of a layer's computation and output; under autocast it is autocast's.

    Raises:
        ValueError: a layer's forward was replaced before, by a network or by this function.
    """
    for name, layer in module.named_modules():
        if type(layer) is nn.Linear:
            _store(name, layer, compute_dtype, _linear_forward)
        elif type(layer) is nn.Conv2d:
            _store(name, layer, compute_dtype, _convolution_forward)


def expanded_weight(layer: nn.Module) -> torch.Tensor:
    """The weight that an eight-bit layer computes with, float32, in the weight's shape."""
    return _expand(layer.weight, layer.weight_scale, torch.float32)


def _store(name: str, layer: Any, compute_dtype: torch.dtype, forward: Any) -> None:
    if "forward" in vars(layer):
        raise ValueError(f"layer '{name}' is patched already; store weights in eight bits before applying networks")
    weight, scale = _quantise(layer.weight.detach())
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.register_buffer("weight_scale", scale, persistent=False)
    layer.compute_dtype = compute_dtype
    layer.forward = MethodType(forward, layer)
    layer.expanded_weight = MethodType(expanded_weight, layer)


def _quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Returns:
        The eight-bit weight, and the scale to multiply it by: float32 (out, 1, ...). The scale is the power of two
        at or above  max |weight of the channel| / 448:  then the expanded weight is exact in every precision, and
        a number format with an exponent rounds equally well whatever the scale.
    """
    weight = weight.float()
    largest = weight.abs().amax(dim=tuple(range(1, weight.ndim)), keepdim=True)
    _, exponent = torch.frexp(largest / LARGEST)
    scale = torch.exp2(exponent.double()).float().clamp(min=SMALLEST_SCALE)
    return (weight / scale).to(STORED), scale


def _expand(weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The scale is applied to the weight and not to the output: products with unscaled weights, up to 448, could
    exceed float16."""
    return weight.to(dtype) * scale.to(dtype)


def _linear_forward(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    x, bias = _for_computation(layer, x)
    return _FrozenLinear.apply(x, layer.weight, layer.weight_scale, bias)


def _convolution_forward(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
    if layer.padding_mode != "zeros":
        x = functional.pad(x, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
        geometry = (layer.stride, (0, 0), layer.dilation, layer.groups)
    x, bias = _for_computation(layer, x)
    return _FrozenConvolution.apply(x, layer.weight, layer.weight_scale, bias, geometry)


def _for_computation(layer: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Input and bias in the precision that is computed in."""
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else layer.compute_dtype
    return x.to(dtype), None if layer.bias is None else layer.bias.to(dtype)


class _FrozenLinear(torch.autograd.Function):
    """y = x W^T + b, with a gradient for x only."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: Any) -> torch.Tensor:
        ctx.save_for_backward(weight, scale)
        return functional.linear(x, _expand(weight, scale, x.dtype), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        weight, scale = ctx.saved_tensors
        return gradient @ _expand(weight, scale, gradient.dtype), None, None, None


class _FrozenConvolution(torch.autograd.Function):
    """The same for a convolution. `geometry` is (stride, padding, dilation, groups)."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: Any, geometry: Any
    ) -> torch.Tensor:
        ctx.save_for_backward(weight, scale)
        ctx.input_shape, ctx.geometry = x.shape, geometry
        return functional.conv2d(x, _expand(weight, scale, x.dtype), bias, *geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        weight, scale = ctx.saved_tensors
        expanded = _expand(weight, scale, gradient.dtype)
        to_input = nn.grad.conv2d_input(ctx.input_shape, expanded, gradient, *ctx.geometry)
        return to_input, None, None, None, None
