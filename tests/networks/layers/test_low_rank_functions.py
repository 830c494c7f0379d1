"""Frozen layers with a low-rank change: values, gradients, and what half precision leaves of the change."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.nn import functional

from networks.layers.convolution_geometry import ConvolutionGeometry
from networks.layers.low_rank_functions import (
    low_rank_convolution,
    low_rank_linear,
    plain_low_rank_convolution,
    plain_low_rank_linear,
)
from tests.networks.layers.half_precision import share_left

IN, OUT, RANK = 6, 5, 3
GEOMETRIES = {
    "3x3": (3, ConvolutionGeometry((1, 1), (1, 1), (1, 1), 1)),
    "3x3 with stride": (3, ConvolutionGeometry((2, 2), (1, 1), (1, 1), 1)),
    "1x1": (1, ConvolutionGeometry((1, 1), (0, 0), (1, 1), 1)),
    "1x1 with stride": (1, ConvolutionGeometry((2, 2), (0, 0), (1, 1), 1)),
    "dilated": (3, ConvolutionGeometry((1, 1), (2, 2), (2, 2), 1)),
    "without padding": (3, ConvolutionGeometry((1, 1), (0, 0), (1, 1), 1)),
    "wide padding": (3, ConvolutionGeometry((1, 1), (2, 2), (1, 1), 1)),
    "tiling": (3, ConvolutionGeometry((1, 1), (1, 1), (1, 1), 1, "circular")),
    "grouped": (3, ConvolutionGeometry((1, 1), (1, 1), (1, 1), 2)),
}


def draw(*shape, dtype=torch.float64, requires_grad=True):
    return torch.randn(*shape, dtype=dtype).requires_grad_(requires_grad)


def linear_tensors(shape=(2, 4), has_bias=True, dtype=torch.float64):
    """x, weight, bias, down, up"""
    return [
        draw(*shape, IN, dtype=dtype),
        draw(OUT, IN, dtype=dtype, requires_grad=False),
        draw(OUT, dtype=dtype, requires_grad=False) if has_bias else None,
        draw(RANK, IN, dtype=dtype),
        draw(OUT, RANK, dtype=dtype),
    ]


def convolution_tensors(name, has_bias=True, dtype=torch.float64):
    """x, weight, bias, down, up; geometry"""
    kernel, geometry = GEOMETRIES[name]
    inputs, outputs = IN // geometry.groups, OUT + (OUT % geometry.groups)
    tensors = [
        draw(2, IN, 6, 7, dtype=dtype),
        draw(outputs, inputs, kernel, kernel, dtype=dtype, requires_grad=False),
        draw(outputs, dtype=dtype, requires_grad=False) if has_bias else None,
        draw(RANK, inputs, kernel, kernel, dtype=dtype),
        draw(outputs, RANK, 1, 1, dtype=dtype),
    ]
    return tensors, geometry


def gradients(output, tensors):
    wanted = [tensor for tensor in tensors if tensor is not None and tensor.requires_grad]
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
    return torch.autograd.grad(output, wanted, weights)


def converted(tensors, dtype):
    return [None if tensor is None else tensor.detach().to(dtype) for tensor in tensors]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


@pytest.mark.parametrize("shape", [(7,), (2, 4), (2, 3, 2)])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("has_factor", [True, False])
def test_linear_is_the_plain_one_and_passes_gradcheck(shape, has_bias, masked, has_factor):
    tensors = linear_tensors(shape, has_bias)
    mask = torch.tensor([0.0, 2.0, 1.0], dtype=torch.float64).expand(shape[0], *(1 for _ in shape[1:]), RANK)
    rest = (0.7, mask if masked else None, *((draw(IN), 1.7) if has_factor else ()))
    torch.testing.assert_close(low_rank_linear(*tensors, *rest), plain_low_rank_linear(*tensors, *rest))
    assert gradcheck(low_rank_linear, (*tensors, *rest))


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("has_factor", [True, False])
def test_convolution_is_the_plain_one_and_passes_gradcheck(name, has_bias, has_factor):
    tensors, geometry = convolution_tensors(name, has_bias)
    mask = torch.tensor([0.0, 2.0, 1.0], dtype=torch.float64).view(1, RANK, 1, 1)
    rest = (0.7, geometry, mask, *((draw(tensors[1].shape[1] * geometry.groups), 1.7) if has_factor else ()))
    torch.testing.assert_close(low_rank_convolution(*tensors, *rest), plain_low_rank_convolution(*tensors, *rest))
    assert gradcheck(low_rank_convolution, (*tensors, *rest))


def test_grouped_convolution_is_that_of_the_merged_weight():
    tensors, geometry = convolution_tensors("grouped")
    x, weight, bias, down, up = tensors
    merged = weight + 0.7 * (up.flatten(1) @ down.flatten(1)).view(weight.shape)
    torch.testing.assert_close(low_rank_convolution(*tensors, 0.7, geometry), geometry.convolve(x, merged, bias))


def test_fp32_gradients_are_those_of_plain_autograd():
    tensors = linear_tensors((2, 50), dtype=torch.float32)
    for found, true in zip(
        gradients(low_rank_linear(*tensors, 0.5), tensors),
        gradients(plain_low_rank_linear(*tensors, 0.5), tensors),
        strict=True,
    ):
        torch.testing.assert_close(found, true, rtol=1e-5, atol=1e-5)
    tensors, geometry = convolution_tensors("3x3", dtype=torch.float32)
    for found, true in zip(
        gradients(low_rank_convolution(*tensors, 0.5, geometry), tensors),
        gradients(plain_low_rank_convolution(*tensors, 0.5, geometry), tensors),
        strict=True,
    ):
        torch.testing.assert_close(found, true, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fixed", [(0,), (3,), (4,), (0, 3), (0, 4), (3, 4)], ids=str)
def test_what_is_fixed_gets_no_gradient_and_the_others_get_theirs(fixed):
    """A first layer's input, a LoRA-FA's down."""
    geometry = GEOMETRIES["3x3"][1]
    for tensors, rest in ((linear_tensors(), ()), (convolution_tensors("3x3")[0], (geometry,))):
        for place in fixed:
            tensors[place].requires_grad_(False)
        fast, plain = (
            (low_rank_convolution, plain_low_rank_convolution) if rest else (low_rank_linear, plain_low_rank_linear)
        )
        found, true = (gradients(function(*tensors, 0.5, *rest), tensors) for function in (fast, plain))
        assert len(found) == 3 - len(fixed)
        torch.testing.assert_close(found, true)


def test_base_weights_that_are_trained_as_well_get_their_gradients():
    for tensors, rest in ((linear_tensors(), ()), (convolution_tensors("3x3")[0], (GEOMETRIES["3x3"][1],))):
        for tensor in tensors:
            tensor.requires_grad_()
        function = low_rank_convolution if rest else low_rank_linear
        assert gradcheck(function, (*tensors, 0.5, *rest))


def test_inputs_of_any_memory_layout():
    x, *others = linear_tensors((3, 4))
    turned = x.detach().transpose(0, 1).requires_grad_()
    assert not turned.is_contiguous()
    assert gradcheck(low_rank_linear, (turned, *others, 0.5))
    (x, *others), geometry = convolution_tensors("3x3")
    channels_last = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    assert gradcheck(low_rank_convolution, (channels_last, *others, 0.5, geometry))


def test_only_input_and_inner_values_are_kept():
    x, weight, _, down, up = tensors = linear_tensors((2, 50))
    kept = set()
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.add(one.data_ptr()) or one, lambda one: one):
        low_rank_linear(*tensors, 0.5)
    known = {one.data_ptr() for one in (x, weight, down, up)}
    assert known <= kept and len(kept - known) == 1  # x down^T


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("relative_change", [1e-4, 1e-3, 1e-2])
def test_half_precision_keeps_small_changes_of_a_linear_layer(dtype, has_bias, relative_change):
    width = 320
    x, weight, down = (draw(rows, width, requires_grad=False).to(dtype) for rows in (512, width, 4))
    up = draw(width, 4, requires_grad=False)
    up = (up * relative_change * weight.norm() / (up @ down.double()).norm()).to(dtype)
    bias = (10 * draw(width, requires_grad=False)).to(dtype) if has_bias else None
    wide = converted([x, weight, bias, down, up], torch.float64)
    base, change = functional.linear(*wide[:3]), wide[0] @ (wide[4] @ wide[3]).t()
    left = share_left(low_rank_linear(x, weight, bias, down, up, 1.0), base, change)
    assert left == pytest.approx(1, abs=0.1 if relative_change < 1e-3 else 0.01)
    added = functional.linear(x, weight, bias) + (x @ down.t()) @ up.t()
    if dtype == torch.bfloat16 and relative_change < 1e-2:
        assert share_left(added, base, change) < 0.7  # what the other way would leave


@pytest.mark.parametrize("name", ["3x3", "3x3 with stride", "1x1", "tiling", "wide padding"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_small_changes_of_a_convolution(name, dtype):
    kernel, geometry = GEOMETRIES[name]
    channels, relative_change = 32, 1e-3
    x = draw(2, channels, 32, 32, requires_grad=False).to(dtype)
    weight, down = (draw(rows, channels, kernel, kernel, requires_grad=False).to(dtype) for rows in (channels, 4))
    up = draw(channels, 4, 1, 1, requires_grad=False)
    product = (up.flatten(1) @ down.double().flatten(1)).view(weight.shape)
    up = (up * relative_change * weight.double().norm() / product.norm()).to(dtype)
    base = geometry.convolve(x.double(), weight.double())
    change = functional.conv2d(geometry.convolve(x.double(), down.double()), up.double())
    left = share_left(low_rank_convolution(x, weight, None, down, up, 1.0, geometry), base, change)
    assert left == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("base", [torch.float32, torch.bfloat16])
def test_autocast_computes_in_half_precision_and_gives_fp32_gradients(base):
    geometry = GEOMETRIES["3x3"][1]
    for tensors, rest in (
        (linear_tensors(dtype=torch.float32), ()),
        (convolution_tensors("3x3", dtype=torch.float32)[0], (geometry,)),
    ):
        function = low_rank_convolution if rest else low_rank_linear
        plain = plain_low_rank_convolution if rest else plain_low_rank_linear
        true = plain(*tensors, 0.5, *rest)
        tensors[1:3] = converted(tensors[1:3], base)
        with torch.autocast("cpu", torch.bfloat16):
            output = function(*tensors, 0.5, *rest)
        assert output.dtype == torch.bfloat16
        assert ((output - true).norm() / true.norm()).item() < 0.01
        found = gradients(output.float(), tensors)
        assert len(found) == 3 and all(one.dtype == torch.float32 for one in found)
        for one, other in zip(found, gradients(true, tensors), strict=True):
            assert ((one - other).norm() / other.norm()).item() < 0.03


def test_geometry_is_that_of_a_layer():
    layer = nn.Conv2d(4, 6, 3, stride=2, padding="valid", dilation=(1, 2), padding_mode="reflect", groups=2)
    assert ConvolutionGeometry.of(layer) == ConvolutionGeometry((2, 2), (0, 0), (1, 2), 2, "reflect")
    for layer in (nn.Conv2d(4, 6, 3, padding="same"), nn.Conv2d(4, 6, (3, 5), padding=(1, 2), padding_mode="circular")):
        x = torch.randn(1, 4, 7, 8)
        torch.testing.assert_close(ConvolutionGeometry.of(layer).convolve(x, layer.weight, layer.bias), layer(x))
    with pytest.raises(ValueError, match="both sides"):
        ConvolutionGeometry.of(nn.Conv2d(4, 6, 2, padding="same"))
