"""--cpu_offload_checkpointing: checkpoints whose big input waits in main memory."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from library.models import offloaded_checkpointing
from library.models.eight_bit_weights import store_in_eight_bits
from library.models.offloaded_checkpointing import checkpoint_in_main_memory
from tests.models.two_level_unet import BLOCKS, apply_lora, forward_and_backward, two_level_unet

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


class Block(nn.Module):
    """Takes what diffusers' blocks take, draws random numbers, and has its trainable weight behind a hook."""

    def __init__(self, weight: nn.Parameter):
        super().__init__()
        self.layer = nn.Linear(8, 8).requires_grad_(False)
        original = self.layer.forward
        self.layer.forward = lambda x: original(x) + x @ weight  # the weight is no parameter of the block
        self.calls: list[tuple[torch.dtype, bool]] = []

    def forward(self, hidden_states, mask, text, options, count):
        assert mask is None
        mixed = self.layer(hidden_states * options["strength"] + text.mean(1, keepdim=True)).tanh()
        self.calls.append((mixed.dtype, torch.is_grad_enabled()))
        return nn.functional.dropout(mixed, 0.5) * count


def train(run, hidden_needs_gradient: bool, text_needs_gradient: bool, autocast: bool):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(8, 8))
    blocks = [Block(weight) for _ in range(3)]
    hidden = torch.randn(2, 5, 8, requires_grad=hidden_needs_gradient)
    text = torch.randn(2, 4, 8, requires_grad=text_needs_gradient)
    output = hidden
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        for block in blocks:
            output = run(block, output, None, text, {"strength": 0.5}, 2)
    next_draw = torch.rand(1)
    output.float().square().sum().backward()
    return output.detach(), weight.grad, hidden.grad, text.grad, next_draw, [block.calls for block in blocks]


def plain_checkpoint(block, *inputs):
    return checkpoint(block, *inputs, use_reentrant=False)


def no_checkpoint(block, *inputs):
    return block(*inputs)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("text_needs_gradient", [False, True])
@pytest.mark.parametrize("hidden_needs_gradient", [False, True])
@pytest.mark.parametrize("reference", [plain_checkpoint, no_checkpoint])
def test_gradients_are_bit_for_bit_the_same(reference, hidden_needs_gradient, text_needs_gradient, autocast):
    inputs = (hidden_needs_gradient, text_needs_gradient, autocast)
    *actual, calls = train(checkpoint_in_main_memory, *inputs)
    *expected, _ = train(reference, *inputs)
    for one, other in zip(actual, expected, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)
    _, weight_gradient, hidden_gradient, text_gradient, _ = actual
    assert weight_gradient.abs().max() > 0
    assert (hidden_gradient is not None) == hidden_needs_gradient
    assert (text_gradient is not None) == text_needs_gradient
    dtype = torch.bfloat16 if autocast else torch.float32
    assert calls == [[(dtype, True)] * 2] * 3  # computed twice, the second time with the first time's autocast


@pytest.fixture
def main_memory(monkeypatch):
    """Plays a device: what goes to main memory is copied, and everything that went there is recorded."""
    moved = []

    def offload(tensor):
        packed = offloaded_checkpointing._InMainMemory(tensor.detach().clone(), tensor.device)
        moved.append(packed.copy)
        return packed

    monkeypatch.setattr(offloaded_checkpointing, "_offload", offload)
    return moved


def test_the_hidden_states_are_moved_and_nothing_else(main_memory):
    *actual, _ = train(checkpoint_in_main_memory, True, True, autocast=False)
    *expected, _ = train(plain_checkpoint, True, True, autocast=False)
    assert [tuple(tensor.shape) for tensor in main_memory] == [(2, 5, 8)] * 3
    assert all(torch.equal(one, other) for one, other in zip(actual, expected, strict=True))


def test_the_original_is_released_until_the_backward_pass(main_memory):
    layer = nn.Linear(8, 8)
    hidden = torch.randn(2, 8, requires_grad=True) * 1
    released = weakref.ref(hidden)
    output = checkpoint_in_main_memory(layer, hidden)
    del hidden
    gc.collect()
    assert released() is None
    output.sum().backward()
    torch.testing.assert_close(layer.weight.grad, main_memory[0].sum(0).expand(8, 8))


def test_inference_moves_nothing(main_memory):
    layer, hidden = nn.Linear(8, 8), torch.randn(2, 8)
    with torch.no_grad():
        assert torch.equal(checkpoint_in_main_memory(layer, hidden), layer(hidden))
    assert main_memory == []


@pytest.mark.parametrize("eight_bits", [False, True])
def test_a_unet_trains_as_with_plain_checkpointing(main_memory, eight_bits):
    unet = two_level_unet()
    if eight_bits:
        store_in_eight_bits(unet, torch.float32)
    network = apply_lora(unet, dropout=0.2)
    unet.enable_gradient_checkpointing()
    expected, expected_gradients = forward_and_backward(unet, network)
    unet.enable_gradient_checkpointing(checkpoint_in_main_memory)
    prediction, gradients = forward_and_backward(unet, network)
    assert len(main_memory) == BLOCKS - 1  # diffusers does not checkpoint the first block of the middle
    assert torch.equal(prediction, expected)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        assert torch.equal(gradient, expected_gradients[name]), name
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("device", DEVICES)
def test_the_copy_comes_back_and_is_page_locked_where_that_helps(device):
    layer = nn.Linear(1024, 1024, device=device).requires_grad_(False)
    layer.bias.requires_grad_(True)
    hidden = torch.randn(64, 1024, device=device)
    packed = offloaded_checkpointing._offload(hidden)
    assert packed.copy.is_pinned() == (device == "cuda")
    assert packed.copy.device.type == "cpu"
    assert torch.equal(offloaded_checkpointing._fetch(packed), hidden)
    checkpoint_in_main_memory(layer, hidden).sum().backward()
    assert (layer.bias.grad == 64).all()
