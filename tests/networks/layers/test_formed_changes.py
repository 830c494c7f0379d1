"""Layers with a change that is formed twice and never kept."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from networks.layers.convolution_geometry import ConvolutionGeometry
from networks.layers.formed_changes import output_with_formed_change

torch.set_num_threads(1)

INPUTS, OUTPUTS = 6, 4
CONVOLUTIONS = {
    "plain": {},
    "stride, dilation": {"stride": 2, "dilation": 2, "padding": 1},
    "groups": {"groups": 2, "padding": 1},
    "reflected border": {"padding": 1, "padding_mode": "reflect"},
}


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        yield


def factors(columns: int = INPUTS, dtype: torch.dtype = torch.float64) -> tuple[nn.Parameter, nn.Parameter]:
    return nn.Parameter(torch.randn(OUTPUTS, 2, dtype=dtype)), nn.Parameter(torch.randn(2, columns, dtype=dtype))


def same_gradients(actual: torch.Tensor, expected: torch.Tensor, of: list[torch.Tensor]) -> None:
    torch.testing.assert_close(actual, expected)
    weights = torch.randn_like(expected)
    for own, wanted in zip(
        torch.autograd.grad(actual, of, weights), torch.autograd.grad(expected, of, weights), strict=True
    ):
        assert wanted.abs().max() > 0
        torch.testing.assert_close(own, wanted)


@pytest.mark.parametrize("has_weight", [True, False])
@pytest.mark.parametrize("shape", [(5,), (2, 3, 5)])
def test_a_linear_layer(has_weight, shape):
    a, b = factors()
    x = torch.randn(*shape, INPUTS, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.randn(OUTPUTS, INPUTS, dtype=torch.float64), torch.randn(OUTPUTS, dtype=torch.float64)
    if has_weight:
        output = output_with_formed_change(x, lambda: a @ b, [a, b], weight, bias)
        expected = functional.linear(x, weight + a @ b, bias)
    else:
        output, expected = output_with_formed_change(x, lambda: a @ b, [a, b]), functional.linear(x, a @ b)
    same_gradients(output, expected, [x, a, b])


@pytest.mark.parametrize("has_weight", [True, False])
@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_a_convolution(has_weight, options):
    layer = nn.Conv2d(INPUTS, OUTPUTS, 3, **CONVOLUTIONS[options]).double().requires_grad_(False)
    a, b = factors(layer.weight[0].numel())
    x = torch.randn(2, INPUTS, 7, 6, dtype=torch.float64, requires_grad=True)
    geometry = ConvolutionGeometry.of(layer)

    def form_change() -> torch.Tensor:
        return (a @ b).view(layer.weight.shape)

    if has_weight:
        output = output_with_formed_change(x, form_change, [a, b], layer.weight, layer.bias, geometry)
        expected = layer(x) + geometry.convolve(x, form_change())
    else:
        output = output_with_formed_change(x, form_change, [a, b], geometry=geometry)
        expected = geometry.convolve(x, form_change())
    same_gradients(output, expected, [x, a, b])


def test_what_is_frozen_gets_no_gradient():
    a, b = factors()
    a.requires_grad_(False)
    x = torch.randn(3, INPUTS, dtype=torch.float64)
    output_with_formed_change(
        x, lambda: a @ b, [a, b], torch.zeros(OUTPUTS, INPUTS, dtype=torch.float64)
    ).sum().backward()
    assert a.grad is None and x.grad is None
    torch.testing.assert_close(b.grad, (a.T @ torch.ones(OUTPUTS, 3, dtype=torch.float64)) @ x)


def test_parameters_changed_before_the_backward_pass_are_refused():
    a, b = factors()
    output = output_with_formed_change(torch.randn(3, INPUTS, dtype=torch.float64), lambda: a @ b, [a, b])
    with torch.no_grad():
        b.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize("kind", ["linear", "convolution"])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_the_backward_pass_has_the_precision_of_the_forward_pass(kind, stored):
    a, b = factors(dtype=torch.float32)
    seen = []

    def form_change() -> torch.Tensor:
        change = a @ b
        seen.append(change.dtype)
        return change if kind == "linear" else change[..., None, None]

    geometry = None if kind == "linear" else ConvolutionGeometry((1, 1), (0, 0), (1, 1), 1)
    shape = (64, INPUTS) if kind == "linear" else (4, INPUTS, 4, 4)
    x = torch.randn(shape).bfloat16().float().requires_grad_()
    weight = torch.randn(form_change().shape).to(stored)
    with torch.autocast("cpu", torch.bfloat16):
        output = output_with_formed_change(x, form_change, [a, b], weight, None, geometry)
    assert output.dtype == torch.bfloat16
    found = torch.autograd.grad(output.float().square().sum(), [x, a, b])
    assert seen == [torch.float32, torch.bfloat16, torch.bfloat16]
    assert [gradient.dtype for gradient in found] == [torch.float32] * 3
    full = weight.bfloat16().float() + form_change()
    exact = functional.linear(x, full) if geometry is None else geometry.convolve(x, full)
    for own, wanted in zip(found, torch.autograd.grad(exact.square().sum(), [x, a, b]), strict=True):
        assert (own - wanted).norm() < 0.02 * wanted.norm()


def test_a_backward_pass_within_autocast():
    """Autocast keeps what it converted; what it did in the forward pass knows of no gradients."""
    a, b = factors(dtype=torch.float32)
    x = torch.randn(3, INPUTS)
    with torch.autocast("cpu", torch.bfloat16):
        output_with_formed_change(x, lambda: a @ b, [a, b]).sum().backward()
        assert (a @ b).requires_grad
    assert a.grad.abs().max() > 0 and b.grad.abs().max() > 0


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing(use_reentrant):
    a, b = factors()
    x = torch.randn(3, INPUTS, dtype=torch.float64, requires_grad=True)

    def output(x: torch.Tensor) -> torch.Tensor:
        return output_with_formed_change(x, lambda: a @ b, [a, b]).tanh()

    checkpoint(output, x, use_reentrant=use_reentrant).square().sum().backward()
    found = [tensor.grad for tensor in (x, a, b)]
    for own, wanted in zip(found, torch.autograd.grad(output(x).square().sum(), [x, a, b]), strict=True):
        assert torch.equal(own, wanted)
