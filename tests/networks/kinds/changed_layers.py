"""Layers to change in tests, and what must hold for every kind of change."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from library.models.eight_bit_weights import store_in_eight_bits
from networks.layers.adapted_layer import AdaptedLayer

# The layers are so small that more threads would only wait for each other.
torch.set_num_threads(1)

INPUTS, OUTPUTS = 6, 12
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(INPUTS, OUTPUTS),
    "linear without bias": lambda: nn.Linear(INPUTS, OUTPUTS, bias=False),
    "1x1 convolution": lambda: nn.Conv2d(INPUTS, OUTPUTS, 1, bias=False),
    "3x3 convolution with stride 2": lambda: nn.Conv2d(INPUTS, OUTPUTS, 3, stride=2, padding=1),
}
every_layer = pytest.mark.parametrize("layer_name", LAYERS)

Make = Callable[[nn.Module], AdaptedLayer]


def frozen_layer(layer_name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    return LAYERS[layer_name]().to(dtype).requires_grad_(False)


def input_for(layer: nn.Module, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    shape = (2, INPUTS, 5, 4) if isinstance(layer, nn.Conv2d) else (2, 7, INPUTS)
    return torch.randn(shape, dtype=dtype)


def train(adapter: AdaptedLayer, size: float = 0.3) -> AdaptedLayer:
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return adapter


def hooked(adapter: AdaptedLayer) -> AdaptedLayer:
    adapter.hook_into_layer()
    return adapter


def close(first: torch.Tensor, second: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


def gradients(output: torch.Tensor, x: torch.Tensor, parameters) -> list[torch.Tensor]:
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return list(torch.autograd.grad((output * direction.to(output.dtype)).sum(), [x, *parameters]))


def check_every_way_of_computing(make: Make, layer: nn.Module, x: torch.Tensor, tolerance: float) -> None:
    """Live forward, beside another network, merge, file and reference agree, at full and at other strengths."""
    adapter = train(make(layer))
    expected = {strength: adapter.reference_output(x, strength) for strength in (0.0, 0.6, 1.0)}
    base = layer(x)
    close(expected[0.0], base, tolerance)
    assert (expected[1.0] - base).abs().max() > 0.05
    stacked = copy.deepcopy(layer)
    for _ in range(2):
        of_stack = hooked(make(stacked))
        of_stack.load_tensors(adapter.file_tensors())
    close(stacked(x), base + 2 * (expected[1.0] - base), 4 * tolerance)

    merged = copy.deepcopy(layer)
    loaded = type(adapter).from_tensors("some_layer", merged, adapter.file_tensors(), multiplier=0.6)
    loaded.merge()
    close(merged(x), expected[0.6], tolerance)

    hooked(adapter)
    for strength, output in expected.items():
        adapter.multiplier = strength
        close(layer(x), output, tolerance)


def check_gradients(make: Make, layer: nn.Module, x: torch.Tensor, tolerance: float) -> None:
    """Those of the live forward are those of the layer with its change merged, as plain autograd has them."""
    adapter = hooked(train(make(layer)))
    x.requires_grad_()
    parameters = list(adapter.parameters())
    plain = gradients(adapter.reference_output(x), x, parameters)
    live = gradients(layer(x), x, parameters)
    assert len(live) == 1 + len(parameters)
    for first, second in zip(live, plain, strict=True):
        close(first, second, tolerance)


def check_by_finite_differences(make: Make, layer: nn.Module) -> None:
    adapter = hooked(train(make(layer)).double())
    x = input_for(layer, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *adapter.parameters()))


def check_weights_in_eight_bits(make: Make, layer: nn.Module, x: torch.Tensor, tolerance: float) -> None:
    """The change is that of the weight which the layer computes with."""
    store_in_eight_bits(layer, torch.float32)
    first, second = (hooked(train(make(layer))) for _ in range(2))
    changes = [adapter.reference_output(x) - adapter.reference_output(x, 0.0) for adapter in (first, second)]
    close(layer(x), first.reference_output(x, 0.0) + changes[0] + changes[1], tolerance)


def check_nothing_changes_at_the_start(make: Make, layer: nn.Module) -> None:
    x = input_for(layer)
    before = layer(x)
    adapter = hooked(make(layer))
    assert not adapter.delta_weight().any()
    close(layer(x), before, 1e-6)


def surviving_fraction(make: Make, size: float, dtype: torch.dtype, autocast: bool, layer: nn.Module) -> float:
    """How much of a small change is in the output of a layer that computes in half precision: 1 = all of it."""
    layer = layer.requires_grad_(False)
    adapter = hooked(train(make(layer), size))
    spatial = isinstance(layer, nn.Conv2d)
    x = torch.randn(64, layer.weight.shape[1], 12, 12) if spatial else torch.randn(4096, layer.weight.shape[1])
    if not autocast:
        layer.to(dtype)
        x = x.to(dtype)
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=autocast):
        with_change = layer(x)
        adapter.multiplier = 0.0
        without = layer(x)
    assert with_change.dtype == without.dtype == dtype
    exact = adapter.reference_output(x.double(), 1.0) - adapter.reference_output(x.double(), 0.0)
    return ((with_change - without.to(with_change.dtype)).double() * exact).sum().item() / exact.square().sum().item()
