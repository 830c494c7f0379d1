"""DyLoRA: a random rank in each forward pass of training, plain LoRA otherwise."""

import copy
import math

import pytest
import torch
from lycoris.modules.dylora import DyLoraModule
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from library.errors import UserError
from networks.arguments import parse_arguments
from networks.kinds.catalogue import OF_MODULE, recognise
from networks.kinds.dylora import DyLoRALayer
from networks.kinds.lora import LoRALayer
from networks.targeting.targets import LayerSize, Target

RANK, ALPHA = 6, 3.0
LAYERS = {
    "linear": lambda: nn.Linear(7, 8),
    "3x3 convolution": lambda: nn.Conv2d(7, 8, 3, padding=1),
}
every_layer = pytest.mark.parametrize("kind", LAYERS)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(21)
        yield


def build(kind: str, unit=2, trained=True) -> tuple[nn.Module, DyLoRALayer]:
    layer = LAYERS[kind]().requires_grad_(False)
    adapter = DyLoRALayer("some_layer", layer, RANK, ALPHA, unit=unit)
    if trained:
        nn.init.normal_(adapter.lora_up.weight)
    return layer, adapter


def values_for(kind: str) -> torch.Tensor:
    return torch.randn((2, 7, 4, 4) if "convolution" in kind else (2, 5, 7))


def truncated(layer: nn.Module, adapter: DyLoRALayer, rank: int, first: int, x: torch.Tensor) -> torch.Tensor:
    """What the ranks below `rank` add; those below `first` are constants."""
    down, up = adapter.lora_down.weight.flatten(1), adapter.lora_up.weight.flatten(1)
    product = up[:, :first].detach() @ down[:first].detach() + up[:, first:rank] @ down[first:rank]
    delta = (ALPHA / RANK * math.sqrt(RANK / rank) * product).view(layer.weight.shape)
    return functional.conv2d(x, delta, padding=1) if delta.ndim == 4 else functional.linear(x, delta)


@every_layer
def test_each_forward_pass_draws_a_rank_and_trains_its_last_block(kind):
    layer, adapter = build(kind)
    x = values_for(kind)
    base = layer(x)
    expected = [truncated(layer, adapter, rank, rank - 2, x) for rank in (2, 4, 6)]
    gradients = [torch.autograd.grad(one.sin().sum(), list(adapter.parameters())) for one in expected]
    adapter.hook_into_layer()
    counts = [0, 0, 0]
    for _ in range(90):
        change = layer(x) - base
        fitting = [torch.allclose(change, one, atol=1e-5) for one in expected]
        assert fitting.count(True) == 1
        drawn = fitting.index(True)
        counts[drawn] += 1
        found = torch.autograd.grad(change.sin().sum(), list(adapter.parameters()))
        for one, two in zip(found, gradients[drawn], strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
        block = slice(2 * drawn, 2 * drawn + 2)
        down_gradient = found[0].flatten(1)
        assert down_gradient[block].abs().min() > 0
        assert down_gradient.count_nonzero() == down_gradient[block].numel()
    assert min(counts) >= 15


@every_layer
def test_out_of_training_it_is_lora_of_full_rank(kind):
    layer, adapter = build(kind)
    x = values_for(kind)
    base = layer(x)
    tensors = adapter.file_tensors()
    assert recognise(tensors) is LoRALayer
    plain = LoRALayer.from_tensors("x", layer, tensors)
    assert plain.lora_dim == RANK
    assert torch.equal(plain.delta_weight(), adapter.delta_weight())
    adapter.eval().hook_into_layer()
    torch.testing.assert_close(layer(x), base + plain.change(x), rtol=1e-5, atol=1e-5)


def test_recomputing_draws_the_same_rank():
    layer, adapter = build("linear", unit=1)
    x = values_for("linear").requires_grad_()
    adapter.hook_into_layer()
    for seed in range(8):
        torch.manual_seed(seed)
        expected = torch.autograd.grad(layer(x).sin().sum(), list(adapter.parameters()))
        torch.manual_seed(seed)
        recomputed = checkpoint(layer, x, use_reentrant=False).sin().sum()
        torch.rand(3)
        found = torch.autograd.grad(recomputed, list(adapter.parameters()))
        for one, two in zip(found, expected, strict=True):
            assert torch.equal(one, two)


def test_arguments():
    arguments = parse_arguments("networks.dylora", {"unit": "3", "dropout": "0.25", "module_dropout": "0.5"})
    target = Target("some_layer", nn.Linear(7, 8), "some.layer", "unet")
    made = OF_MODULE["networks.dylora"].build(target, LayerSize(RANK, ALPHA), arguments, 1.0)
    assert isinstance(made, DyLoRALayer)
    assert (made.unit, made.dropouts.neuron, made.dropouts.module) == (3, 0.25, 0.5)
    with pytest.raises(UserError, match="unit=3: some_layer has the rank 4, which must be a multiple of it"):
        OF_MODULE["networks.dylora"].build(target, LayerSize(4, ALPHA), arguments, 1.0)


@every_layer
def test_lycoris_at_full_rank(kind):
    """Lower ranks are scaled in another way there; the gradients of the last block must be the same."""
    layer, adapter = build(kind, unit=1)
    peer = DyLoraModule("x", copy.deepcopy(layer), 1.0, RANK, ALPHA, block_size=1)
    with torch.no_grad():
        for rank in range(RANK):
            peer.down_list[rank].copy_(adapter.lora_down.weight[rank].flatten()[None])
            peer.up_list[rank].copy_(adapter.lora_up.weight[:, rank].flatten()[:, None])
    theirs = peer.get_diff_weight(rank=RANK - 1)[0]
    torch.testing.assert_close(theirs, adapter.delta_weight(), rtol=1e-5, atol=1e-5)
    up_gradient, down_gradient = torch.autograd.grad(theirs.sin().sum(), [peer.up_list[-1], peer.down_list[-1]])
    adapter.delta_weight().sin().sum().backward()
    ours = adapter.lora_up.weight.grad[:, -1].flatten(), adapter.lora_down.weight.grad[-1].flatten()
    torch.testing.assert_close(ours[0], up_gradient.flatten(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours[1], down_gradient.flatten(), rtol=1e-5, atol=1e-5)
