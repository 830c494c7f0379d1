"""The comparison of what a file holds with what a model computes, layer by layer."""

import pytest
import torch
from torch import nn

from library.models.eight_bit_weights import store_in_eight_bits
from networks.kinds.lora import LoRALayer
from networks.targeting.targets import Target
from networks.verification.live_comparison import TOLERANCE, compare_with_live
from tests.networks.adapted_model import AdaptedModel, relative_difference
from tests.networks.files.random_files import file_of, lora_of
from tests.networks.network_cases import CASES

NAME = "lora_unet_mid_block_x"


def compare_one(layer, tensors, live=None):
    """The layer's comparison, with the network `live` on it, by default the same as in the file."""
    adapted = LoRALayer.from_tensors(NAME, layer, live or tensors)
    adapted.eval().hook_into_layer()
    (found,) = compare_with_live(file_of({NAME: tensors}), [Target(NAME, layer, "mid_block.x", "unet")])
    return found


@pytest.mark.parametrize("layer", [nn.Linear(12, 8), nn.Conv2d(12, 8, 3, stride=2, padding=1)], ids=["linear", "3x3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_correct_file(layer, dtype):
    found = compare_one(layer.to(dtype).requires_grad_(False), lora_of(layer))
    assert found.name == NAME
    assert not found.is_lost
    assert found.error < TOLERANCE
    assert found.change > 0.05
    del layer.forward


def test_weights_in_eight_bits():
    layer = nn.Linear(12, 8)
    store_in_eight_bits(layer, torch.float32)
    assert compare_one(layer, lora_of(layer)).error < TOLERANCE


@pytest.mark.parametrize("factor", [2.0, 0.9, -1.0])
def test_the_error_is_relative_to_the_change(factor):
    """The file's change is `factor` times the one in memory."""
    layer = nn.Linear(12, 8).requires_grad_(False)
    live = lora_of(layer)
    found = compare_one(layer, live | {"lora_up.weight": factor * live["lora_up.weight"]}, live)
    assert found.error == pytest.approx(abs(1 - factor) / abs(factor), rel=1e-2)


@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.bfloat16, 1e-4), (torch.float32, 1e-7), (torch.float32, 1e-9)], ids=str
)
def test_a_change_that_is_lost_in_rounding_is_no_error(dtype, size):
    """As after a few steps of an optimizer that has yet to find its rate."""
    layer = nn.Linear(64, 32).to(dtype).requires_grad_(False)
    tensors = lora_of(layer)
    tensors = {name: tensor.float() * (size if name == "lora_up.weight" else 1) for name, tensor in tensors.items()}
    assert compare_one(layer, tensors).error == 0


def smaller(tensors, size):
    return tensors | {"lora_up.weight": size * tensors["lora_up.weight"]}


@pytest.mark.parametrize("size", [1e-7, 3e-8, 1e-8, 1e-9])
@pytest.mark.parametrize("layer", [nn.Linear(320, 1280), nn.Conv2d(4, 320, 1)], ids=["linear", "1x1"])
def test_changes_that_rounding_swallows_are_no_errors(layer, size):
    """Numbers below half a unit in the last place are lost all together, not one here and one there."""
    torch.manual_seed(0)
    found = compare_one(layer.requires_grad_(False), smaller(lora_of(layer), size))
    del layer.forward
    assert found.error <= TOLERANCE
    if size == 1e-9:
        assert found.is_lost


def test_a_network_of_others_that_adds_its_change_to_a_rounded_output():
    layer = nn.Linear(64, 64).to(torch.bfloat16).requires_grad_(False)
    tensors = smaller(lora_of(layer), 1e-3)
    adapted, stock = LoRALayer.from_tensors(NAME, layer, tensors).to(torch.bfloat16), layer.forward
    layer.forward = lambda x: stock(x) + adapted.change(x)
    (found,) = compare_with_live(file_of({NAME: tensors}), [Target(NAME, layer, "mid_block.x", "unet")])
    assert found.error <= TOLERANCE
    assert found.is_lost


def test_a_file_that_changes_nothing_beside_a_network_that_does():
    layer = nn.Linear(12, 8).requires_grad_(False)
    live = lora_of(layer)
    found = compare_one(layer, live | {"lora_up.weight": torch.zeros(8, 4)}, live)
    assert not found.error <= TOLERANCE


def test_nan_is_no_match():
    layer = nn.Linear(12, 8).requires_grad_(False)
    live = lora_of(layer)
    found = compare_one(layer, live | {"lora_up.weight": torch.full((8, 4), torch.nan)}, live)
    assert not found.error <= TOLERANCE


def test_layers_of_other_names_and_unknown_kinds_are_left_out():
    layer = nn.Linear(12, 8)
    target = Target(NAME, layer, "mid_block.x", "unet")
    assert list(compare_with_live(file_of({"lora_unet_other": lora_of(layer)}), [target])) == []
    assert list(compare_with_live({f"{NAME}.strange": torch.ones(2)}, [target])) == []


def test_the_models_output_is_untouched():
    model = AdaptedModel()
    network = model.apply(CASES["lora, norms"], 0.2)
    before = model.output()
    targets = [Target(each.lora_name, each.layer, "x", "unet") for each in network.layers()]
    compared = list(compare_with_live(network.file_tensors(), targets))
    assert len(compared) == len(targets) == 29
    assert relative_difference(model.output(), before) == 0
