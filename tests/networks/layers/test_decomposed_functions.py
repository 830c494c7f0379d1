"""Layers whose changed weight is multiplied by a factor per input or output."""

import pytest
import torch
from torch.autograd import gradcheck

from networks.layers.convolution_geometry import ConvolutionGeometry
from networks.layers.decomposed_functions import decomposed_convolution, decomposed_linear
from tests.networks.layers.half_precision import share_left

IN, OUT, RANK = 6, 5, 3
GEOMETRY = ConvolutionGeometry((2, 2), (1, 1), (1, 1), 1)
DIRECTIONS = pytest.mark.parametrize("per_input", [True, False], ids=["per input", "per output"])


def draw(*shape, requires_grad=True):
    return torch.randn(*shape, dtype=torch.float64).requires_grad_(requires_grad)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(7)


def factor_like(weight, per_input, size):
    """size * random + 1, (1, in[, 1, 1]) or (out, 1[, 1, 1]), fp32"""
    shape = [length if axis == per_input else 1 for axis, length in enumerate(weight.shape)]
    return 1 + size * torch.randn(shape)


@DIRECTIONS
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_linear_has_the_weight_that_is_meant(per_input, has_bias, masked):
    x, weight, down, up = draw(2, 4, IN), draw(OUT, IN, requires_grad=False), draw(RANK, IN), draw(OUT, RANK)
    bias = draw(OUT, requires_grad=False) if has_bias else None
    factor = draw(*((1, IN) if per_input else (OUT, 1)))
    mask = torch.tensor([2.0, 0.0, 1.0], dtype=torch.float64) if masked else None
    arguments = (x, weight, bias, down, up, 0.7, factor, per_input, mask)
    changed = (weight + 0.7 * up @ (down if mask is None else down * mask[:, None])) * factor
    torch.testing.assert_close(decomposed_linear(*arguments), torch.nn.functional.linear(x, changed, bias))
    assert gradcheck(decomposed_linear, arguments)


@DIRECTIONS
@pytest.mark.parametrize("has_bias", [True, False])
def test_convolution_has_the_weight_that_is_meant(per_input, has_bias):
    x, weight = draw(2, IN, 5, 4), draw(OUT, IN, 3, 3, requires_grad=False)
    down, up = draw(RANK, IN, 3, 3), draw(OUT, RANK, 1, 1)
    bias = draw(OUT, requires_grad=False) if has_bias else None
    factor = draw(*((1, IN, 1, 1) if per_input else (OUT, 1, 1, 1)))
    arguments = (x, weight, bias, down, up, 0.7, factor, per_input, GEOMETRY)
    changed = (weight + 0.7 * (up.flatten(1) @ down.flatten(1)).view(weight.shape)) * factor
    torch.testing.assert_close(decomposed_convolution(*arguments), GEOMETRY.convolve(x, changed, bias))
    assert gradcheck(decomposed_convolution, arguments)


@DIRECTIONS
@pytest.mark.parametrize("is_convolution", [False, True], ids=["linear", "convolution"])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_factors_that_are_close_to_1(per_input, is_convolution, has_bias, dtype):
    """Rounding to nearest would take most of such changes away."""
    width, kernel = 256, (1, 1) if is_convolution else ()
    x = draw(4, width, 8, 8, requires_grad=False) if is_convolution else draw(256, width, requires_grad=False)
    weight = draw(width, width, *kernel, requires_grad=False) * width**-0.5
    x, weight = x.to(dtype), weight.to(dtype)
    bias = (0.1 * draw(width, requires_grad=False)).to(dtype) if has_bias else None
    down, up = torch.randn(4, width, *kernel), torch.zeros(width, 4, *kernel)
    factor = factor_like(weight, per_input, 1e-3)
    change = weight.double() * (factor.double() - 1)
    geometry = ConvolutionGeometry((1, 1), (0, 0), (1, 1), 1)
    wide_bias = None if bias is None else bias.double()
    arguments = (x, weight, bias, down, up, 1.0, factor, per_input)
    if is_convolution:
        output = decomposed_convolution(*arguments, geometry)
        base, true = geometry.convolve(x.double(), weight.double(), wide_bias), geometry.convolve(x.double(), change)
    else:
        output = decomposed_linear(*arguments)
        base, true = torch.nn.functional.linear(x.double(), weight.double(), wide_bias), x.double() @ change.t()
    assert output.dtype == dtype
    assert share_left(output, base, true) == pytest.approx(1, abs=0.04)
    assert ((output - base - true).norm() / base.norm()).item() < 0.005


@DIRECTIONS
def test_autocast_gives_the_gradients_of_full_precision(per_input):
    weight = torch.randn(64, 48)
    tensors = [torch.randn(128, 48), torch.randn(4, 48), torch.randn(64, 4), factor_like(weight, per_input, 0.1)]
    x, down, up, factor = (tensor.requires_grad_() for tensor in tensors)
    bias, signal = torch.randn(64), torch.randn(128, 64)
    true = decomposed_linear(x, weight, bias, down, up, 0.5, factor, per_input)
    with torch.autocast("cpu", torch.bfloat16):
        output = decomposed_linear(x, weight.bfloat16(), bias, down, up, 0.5, factor, per_input)
    assert output.dtype == torch.bfloat16
    found, expected = (torch.autograd.grad(one, tensors, signal.to(one.dtype)) for one in (output, true))
    assert len(found) == 4
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32 and one.shape == other.shape
        assert ((one - other).norm() / other.norm()).item() < 0.02


def test_outputs_with_a_factor_of_zero_have_finite_gradients():
    factor = torch.tensor([[0.0], [2.0]], requires_grad=True)
    down, up = torch.randn(1, 3), torch.randn(2, 1)
    output = decomposed_linear(torch.randn(4, 3), torch.randn(2, 3), None, down, up, 1.0, factor, False)
    assert torch.autograd.grad(output.sum(), factor)[0].isfinite().all()
