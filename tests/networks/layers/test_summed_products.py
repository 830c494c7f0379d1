"""Sums of several products: values, gradients, one rounding."""

import pytest
import torch
from torch.autograd import gradcheck

from networks.layers.convolution_geometry import ConvolutionGeometry
from networks.layers.summed_products import summed_convolution, summed_linear
from tests.networks.layers.half_precision import share_left

SAME_SIZE = ConvolutionGeometry((1, 1), (1, 1), (1, 1), 1)
GEOMETRIES = {
    "zeros": SAME_SIZE,
    "circular": ConvolutionGeometry((1, 1), (1, 1), (1, 1), 1, "circular"),
    "stride": ConvolutionGeometry((2, 2), (1, 1), (1, 1), 1),
    "groups": ConvolutionGeometry((1, 1), (1, 1), (1, 1), 2),
}


def draw(*shape, dtype=torch.float64, requires_grad=True):
    return torch.randn(*shape, dtype=dtype).requires_grad_(requires_grad)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(5)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("has_one_input", [True, False])
def test_linear_passes_gradcheck(has_bias, has_one_input):
    def function(bias, x, other, *weights):
        third = (x if has_one_input else other, weights[2])
        output = summed_linear([(x, weights[0]), (x, weights[1]), third], bias)
        expected = x @ weights[0].t() + x @ weights[1].t() + third[0] @ weights[2].t()
        torch.testing.assert_close(output, expected if bias is None else expected + bias)
        return output

    others = draw(2, 4, 6), draw(2, 4, 6), *(draw(5, 6) for _ in range(3))
    assert gradcheck(function, (draw(5) if has_bias else None, *others))


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("has_one_input", [True, False])
def test_convolution_passes_gradcheck(name, has_one_input):
    geometry = GEOMETRIES[name]

    def function(bias, x, other, *weights):
        inputs = x, x if has_one_input else other
        output = summed_convolution(list(zip(inputs, weights, strict=True)), bias, geometry)
        expected = geometry.convolve(inputs[0], weights[0], bias) + geometry.convolve(inputs[1], weights[1])
        torch.testing.assert_close(output, expected)
        return output

    weights = [draw(4, 4 // geometry.groups, 3, 3) for _ in range(2)]
    assert gradcheck(function, (draw(4), draw(2, 4, 5, 5), draw(2, 4, 5, 5), *weights))


@pytest.mark.parametrize("has_one_input", [True, False])
@pytest.mark.parametrize("is_convolution", [True, False])
def test_half_precision_gives_the_gradients_of_full_precision(has_one_input, is_convolution):
    places, kernel = ((6, 6), (3, 3)) if is_convolution else ((), ())
    wide = [
        draw(8, dtype=torch.float32),
        *(draw(16, 8, *places, dtype=torch.float32) for _ in range(2)),
        *(draw(8, 8, *kernel, dtype=torch.float32) for _ in range(2)),
    ]

    def run(bias, x, other, weight, change):
        terms = [(x, weight), (x if has_one_input else other, change)]
        output = summed_convolution(terms, bias, SAME_SIZE) if is_convolution else summed_linear(terms, bias)
        wanted = [bias, x, weight, change, *([] if has_one_input else [other])]
        return output, torch.autograd.grad(output.float().sin().sum(), wanted)

    true_output, true = run(*wide)
    with torch.autocast("cpu", torch.bfloat16):
        output, found = run(*wide)
    assert output.dtype == torch.bfloat16 and len(found) == 4 + (not has_one_input)
    assert ((output - true_output).norm() / true_output.norm()).item() < 0.01
    for one, other in zip(found, true, strict=True):
        assert one.dtype == torch.float32
        assert ((one - other).norm() / other.norm()).item() < 0.05


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("name", ["linear", *GEOMETRIES])
def test_a_small_term_is_not_lost(has_bias, name):
    channels = 64
    geometry = GEOMETRIES.get(name)
    kernel, places = ((), ()) if geometry is None else ((3, 3), (8, 8))
    groups = 1 if geometry is None else geometry.groups
    x = draw(256, channels, *places, requires_grad=False).bfloat16()
    weight = draw(channels, channels // groups, *kernel, requires_grad=False).bfloat16()
    delta = (1e-3 * draw(*weight.shape, requires_grad=False)).bfloat16()
    bias = draw(channels, requires_grad=False).bfloat16() if has_bias else None
    terms = [(x, weight), (x, delta)]
    if geometry is None:
        base, change = x.double() @ weight.double().t(), x.double() @ delta.double().t()
        output = summed_linear(terms, bias)
    else:
        base, change = (geometry.convolve(x.double(), factor.double()) for factor in (weight, delta))
        output = summed_convolution(terms, bias, geometry)
    if bias is not None:
        base = base + bias.double().view(-1, *(1 for _ in places))
    assert share_left(output, base, change) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inputs_of_frozen_weights_are_not_kept(dtype):
    first, second = (draw(4, 6, dtype=dtype) for _ in range(2))
    frozen, trained = draw(5, 6, dtype=dtype, requires_grad=False), draw(5, 6, dtype=dtype)
    kept = set()
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.add(one.data_ptr()) or one, lambda one: one):
        output = summed_linear([(first, frozen), (second, trained)], None)
    assert first.data_ptr() not in kept
    assert kept == {second.data_ptr(), frozen.data_ptr(), trained.data_ptr()}
    of_first, of_second, of_trained = torch.autograd.grad(output, [first, second, trained], torch.ones_like(output))
    torch.testing.assert_close(of_first, torch.ones_like(output) @ frozen)
    torch.testing.assert_close(of_second, torch.ones_like(output) @ trained.detach())
    torch.testing.assert_close(of_trained, torch.ones_like(output).t() @ second.detach())


def test_what_is_kept_of_a_frozen_weight_under_autocast_is_the_weight_itself():
    x, weight = draw(4, 6, dtype=torch.float32), draw(5, 6, dtype=torch.float32, requires_grad=False)
    delta = torch.nn.Parameter(torch.zeros(5, 6))
    kept = set()
    with (
        torch.autocast("cpu", torch.bfloat16),
        torch.autograd.graph.saved_tensors_hooks(lambda one: kept.add(one.data_ptr()) or one, lambda one: one),
    ):
        summed_linear([(x, weight), (x, delta)], None)
    assert {weight.data_ptr(), delta.data_ptr()} <= kept
