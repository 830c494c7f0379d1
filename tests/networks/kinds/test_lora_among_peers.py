"""LoRA computes the same numbers as other implementations, on the same tensors."""

import copy

import peft
import pytest
import torch
from lycoris.modules.locon import LoConModule
from torch import nn

from networks.kinds.lora import LoRALayer
from tests.networks.kinds.lora_cases import (
    ALPHA,
    KINDS,
    RANK,
    build,
    close,
    every_kind,
    values_for,
)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield


PEERS_TOLERANCE = 1e-5


def gradients(layer: nn.Module, x: torch.Tensor, parameters: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(layer(x).sin().sum(), [x, *parameters])


def compare_with(theirs: nn.Module, their_parameters: list[torch.Tensor], layer: nn.Module, adapter: LoRALayer) -> None:
    x = values_for(layer, torch.float32).requires_grad_()
    adapter.hook_into_layer()
    close(layer(x), theirs(x), PEERS_TOLERANCE)
    ours = gradients(layer, x, list(adapter.parameters()))
    expected = gradients(theirs, x, their_parameters)
    for one, two in zip(ours, expected, strict=True):
        assert two.abs().mean() > 1e-3
        torch.testing.assert_close(one, two.view_as(one), rtol=PEERS_TOLERANCE, atol=PEERS_TOLERANCE)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.endswith("tucker")])
def test_peft(kind):
    layer, adapter = build(kind, torch.float32)
    model = peft.inject_adapter_in_model(
        peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["0"]), nn.Sequential(copy.deepcopy(layer))
    )
    down, up = model[0].lora_A["default"].weight, model[0].lora_B["default"].weight
    with torch.no_grad():
        down.copy_(adapter.lora_down.weight)
        up.copy_(adapter.lora_up.weight)
    close(adapter.delta_weight(), model[0].get_delta_weight("default"), PEERS_TOLERANCE)
    compare_with(model, [down, up], layer, adapter)


@every_kind
@pytest.mark.parametrize("has_scalar", [False, True])
def test_lycoris(kind, has_scalar):
    layer, adapter = build(kind, torch.float32, has_scalar=has_scalar)
    twin = copy.deepcopy(layer)
    peer = LoConModule("x", twin, 1.0, RANK, ALPHA, use_tucker=kind.endswith("tucker"), use_scalar=has_scalar)
    if has_scalar:
        nn.init.constant_(adapter.scalar, 0.7)
    with torch.no_grad():
        peer.lora_down.weight.copy_(adapter.lora_down.weight)
        peer.lora_up.weight.copy_(adapter.lora_up.weight)
        if has_scalar:
            peer.scalar.fill_(0.7)
        if adapter.lora_mid is not None:
            peer.lora_mid.weight.copy_(adapter.lora_mid.weight)
    peer.apply_to()
    close(adapter.delta_weight(), peer.get_diff_weight()[0], PEERS_TOLERANCE)
    theirs = dict(peer.named_parameters())
    compare_with(twin, [theirs[name] for name, _ in adapter.named_parameters()], layer, adapter)
