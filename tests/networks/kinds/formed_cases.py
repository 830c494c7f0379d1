"""What the tests of LoHa, LoKr and GLoRA share."""

import peft
import torch
from torch import nn
from torch.nn import functional

from networks.kinds.glora import GLoRALayer
from networks.kinds.loha import LoHaLayer
from networks.kinds.lokr import LoKrLayer
from networks.layers.formed_layer import FormedLayer

INPUTS, OUTPUTS = 24, 16

LAYERS = {
    "linear": lambda: nn.Linear(INPUTS, OUTPUTS),
    "linear without bias": lambda: nn.Linear(INPUTS, OUTPUTS, bias=False),
    "1x1 convolution": lambda: nn.Conv2d(INPUTS, OUTPUTS, 1),
    "3x3 convolution with stride 2": lambda: nn.Conv2d(INPUTS, OUTPUTS, 3, stride=2, padding=1, bias=False),
    "3x3 convolution with reflected border": lambda: nn.Conv2d(INPUTS, OUTPUTS, 3, padding=1, padding_mode="reflect"),
}

WIDE_SIZE = 192
WIDE_LAYERS = {
    "linear": lambda: nn.Linear(WIDE_SIZE, WIDE_SIZE),
    "linear without bias": lambda: nn.Linear(WIDE_SIZE, WIDE_SIZE, bias=False),
    "1x1 convolution": lambda: nn.Conv2d(WIDE_SIZE, WIDE_SIZE, 1),
    "3x3 convolution": lambda: nn.Conv2d(WIDE_SIZE, WIDE_SIZE, 3, padding=1),
}

Adapter = LoHaLayer | LoKrLayer | GLoRALayer


def frozen(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    return LAYERS[name]().to(dtype).requires_grad_(False)


def frozen_wide(name: str) -> nn.Module:
    """In float32, with numbers that exist in bf16."""
    return WIDE_LAYERS[name]().bfloat16().float().requires_grad_(False)


def input_for(layer: nn.Module, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    shape = (2, INPUTS, 6, 5) if isinstance(layer, nn.Conv2d) else (2, 3, INPUTS)
    return torch.randn(shape, dtype=dtype, requires_grad=True)


def as_if_trained(adapter: Adapter) -> Adapter:
    """All parameters away from their start; magnitudes stay near the norms, and a scalar near 1."""
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if name in ("dora_scale", "scalar"):
                parameter.copy_(parameter + 0.2 * torch.rand_like(parameter) + (name == "scalar"))
            else:
                parameter.copy_(0.5 * torch.randn_like(parameter))
    return adapter


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    """Relative to the largest value, which must not be zero."""
    size = expected.abs().max()
    assert size > 1e-3
    torch.testing.assert_close(actual / size, expected / size, rtol=0, atol=tolerance)


def gradients(output: torch.Tensor, of: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
    return torch.autograd.grad((output * weights).sum(), of)


def merged_output(adapter: Adapter, x: torch.Tensor, strength: float) -> torch.Tensor:
    """What a layer with the weight W + strength * delta gives, by plain autograd."""
    layer, weight = adapter.layer, adapter.base_weight() + strength * adapter.delta_weight()
    if not isinstance(layer, nn.Conv2d):
        return functional.linear(x, weight, layer.bias)
    if layer.padding_mode == "reflect":
        return functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"), weight, layer.bias)
    return functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding)


def check_live_forward(adapter: Adapter, tolerance: float = 1e-10) -> None:
    """Output and gradients of the hooked layer, and of `change`, are those of the merged weight."""
    layer = adapter.layer
    x = input_for(layer, layer.weight.dtype)
    inputs = [x, *adapter.parameters()]
    base, expected = layer(x), merged_output(adapter, x, adapter.multiplier)
    of_merged = gradients(expected, inputs)
    adapter.hook_into_layer()
    live = layer(x)
    del layer.forward
    close(live, expected, tolerance)
    beside = base + adapter.multiplier * adapter.change(x)
    close(beside, expected, tolerance)
    for output in (live, beside):
        for actual, wanted in zip(gradients(output, inputs), of_merged, strict=True):
            close(actual, wanted, tolerance)


def check_round_trip(adapter: FormedLayer, dtype: torch.dtype = torch.float32, tolerance: float = 1e-6) -> FormedLayer:
    """A layer made from what a file holds has the same change, and writes the same file."""
    tensors = {suffix: tensor.detach().clone().to(dtype) for suffix, tensor in adapter.file_tensors().items()}
    assert type(adapter).recognises(tensors)
    assert tensors.keys() <= type(adapter).SUFFIXES
    reloaded = type(adapter).from_tensors("some_layer", adapter.layer, tensors)
    close(reloaded.delta_weight(), adapter.delta_weight().float(), tolerance)
    written = reloaded.file_tensors()
    assert written.keys() == tensors.keys()
    for suffix, tensor in tensors.items():
        assert torch.equal(written[suffix].to(dtype), tensor), suffix
    return reloaded


def check_against_lycoris(adapter: Adapter, peer: nn.Module, tolerance: float = 1e-5) -> None:
    """Output and gradients of LyCORIS's module with the same tensors; its forward pass, since its merge applies
    alpha / rank twice."""
    peer.load_state_dict(dict(adapter.file_tensors()), strict=False)
    x = input_for(adapter.layer, torch.float32)
    names = [name for name, _ in adapter.named_parameters()]
    theirs = dict(peer.named_parameters())
    assert theirs.keys() >= set(names)
    expected = peer(x)
    close(expected, merged_output(adapter, x, 1.0), tolerance)
    adapter.hook_into_layer()
    live = adapter.layer(x)
    del adapter.layer.forward
    close(live, expected, tolerance)
    own = gradients(live, [x, *adapter.parameters()])
    for actual, wanted in zip(own, gradients(expected, [x, *(theirs[name] for name in names)]), strict=True):
        close(actual, wanted, tolerance)


def check_peft(adapter: Adapter, config: peft.PeftConfig, wrong_there: frozenset[str] = frozenset()) -> None:
    """Output, gradients and merged weight of PEFT's layer with the same tensors.

    Args:
        wrong_there: parameters whose gradients PEFT gets wrong.
    """
    layer = adapter.layer
    model = nn.Sequential()
    model.add_module("layer", layer)
    wrapped = peft.get_peft_model(model, config)
    peer = wrapped.base_model.model.layer
    theirs = {}
    for name, parameter in adapter.named_parameters():
        theirs[name] = getattr(peer, name)["default"]
        theirs[name].data.copy_(parameter.detach().reshape(theirs[name].shape))
    x = input_for(layer, torch.float32)
    expected = wrapped(x)
    of_peer = gradients(expected, [x, *theirs.values()])
    close(adapter.adapted_output(x), expected)
    of_adapter = gradients(adapter.adapted_output(x), [x, *adapter.parameters()])
    for name, actual, wanted in zip(["x", *theirs], of_adapter, of_peer, strict=True):
        if name not in wrong_there:
            close(actual, wanted.reshape(actual.shape))
    merged = layer.weight + adapter.delta_weight()
    peer.merge()
    close(merged, peer.get_base_layer().weight)


def share_of_change(adapter: Adapter) -> float:
    """How much of a change of a thousandth of the weight there is in the output under autocast to bf16: the
    least-squares slope, for a layer of WIDE_SIZE whose numbers exist in bf16."""
    layer = adapter.layer
    with torch.no_grad():
        adapter.shrink(1e-3 * layer.weight.norm() / adapter.delta_norm())
    x = torch.randn((256, WIDE_SIZE) if isinstance(layer, nn.Linear) else (4, WIDE_SIZE, 8, 8)).bfloat16().float()
    base = layer(x).double()
    exact = merged_output(adapter, x, 1.0).detach().double() - base
    assert 1e-4 < exact.norm() / base.norm() < 1e-2
    adapter.hook_into_layer()
    with torch.autocast("cpu", torch.bfloat16):
        live = layer(x)
    assert live.dtype == torch.bfloat16
    return float(((live.detach().double() - base) * exact).sum() / exact.square().sum())
