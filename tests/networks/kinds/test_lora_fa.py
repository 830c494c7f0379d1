"""LoRA-FA: LoRA whose first factor stays as it was drawn."""

import math

import pytest
import torch
from torch import nn

from networks.arguments import parse_arguments
from networks.kinds.catalogue import OF_MODULE, recognise
from networks.kinds.lora import LoRALayer
from networks.kinds.lora_fa import LoRAFALayer
from networks.targeting.targets import LayerSize, Target


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        yield


def build(layer: nn.Module, rank=4, **arguments: str) -> LoRAFALayer:
    parsed = parse_arguments("networks.lora_fa", arguments)
    made = OF_MODULE["networks.lora_fa"].build(
        Target("some_layer", layer, "some.layer", "unet"), LayerSize(rank, 2.0), parsed, 1.0
    )
    assert isinstance(made, LoRAFALayer)
    return made


def test_only_up_is_trained():
    layer = nn.Linear(6, 5).requires_grad_(False)
    adapter = build(layer)
    assert adapter.trained_parameters() == [adapter.lora_up.weight] == adapter.plus_parameters()
    adapter.hook_into_layer()
    layer(torch.randn(3, 6)).square().sum().backward()
    assert adapter.lora_up.weight.grad.abs().mean() > 0.1
    assert adapter.lora_down.weight.grad is None
    adapter.load_tensors(adapter.file_tensors())
    assert not adapter.lora_down.weight.requires_grad


@pytest.mark.parametrize("layer", [nn.Linear(300, 5), nn.Conv2d(300, 5, 3)], ids=["linear", "3x3 convolution"])
def test_down_is_drawn_as_elsewhere(layer):
    """With the variance 2 / (inputs + rank), whatever the kernel."""
    adapter = build(layer, rank=100)
    down = adapter.lora_down.weight
    assert down.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.03)
    assert down.abs().max() > 3 * down.std()
    assert adapter.delta_weight().abs().max() == 0


def test_files_are_those_of_lora():
    layer = nn.Linear(6, 5)
    adapter = build(layer, rs_lora="True", dropout="0.5")
    assert adapter.dropouts.neuron == 0.5
    assert adapter.scale == pytest.approx(2 / math.sqrt(4))
    nn.init.normal_(adapter.lora_up.weight)
    tensors = adapter.file_tensors()
    assert recognise(tensors) is LoRALayer
    assert torch.equal(LoRALayer.from_tensors("x", layer, tensors).delta_weight(), adapter.delta_weight())


def test_shrinking_leaves_down_alone():
    adapter = build(nn.Linear(6, 5))
    nn.init.normal_(adapter.lora_up.weight)
    before, down = adapter.delta_weight(), adapter.lora_down.weight.clone()
    with torch.no_grad():
        adapter.shrink(torch.tensor(0.25))
    torch.testing.assert_close(adapter.delta_weight(), 0.25 * before)
    assert torch.equal(adapter.lora_down.weight, down)
