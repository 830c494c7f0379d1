"""The view of SDXL against the module lists and names that other tools have."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from library.models.network_view import leaves_of, view_of_clip, view_of_sdxl_unet
from networks.arguments.kinds import LoRAArguments
from networks.network.chosen_layers import selection_of
from networks.targeting.targets import find_targets
from tests.models.full_size import empty_sd15_text_encoder, empty_sdxl_second_text_encoder, empty_sdxl_unet

SELECTION = selection_of(LoRAArguments())
MODULE_LISTS = json.loads((Path(__file__).parent / "module_lists_sdxl.json").read_text(encoding="utf-8"))
ORIGINAL_NAMES = json.loads((Path(__file__).parent / "sdxl_original_names.json").read_text(encoding="utf-8"))
"""Key name -> path in the diffusers model, of every leaf."""

BLOCKS = {"ResnetBlock2D", "Downsample2D", "Upsample2D"}


@pytest.fixture(scope="module")
def unet():
    return empty_sdxl_unet()


@pytest.fixture(scope="module")
def view(unet):
    return view_of_sdxl_unet(unet)


def adapted_inside(view: nn.Module, classes: set[str]) -> list[str]:
    """Key names of all linear layers and convolutions inside modules of these classes."""
    return sorted(
        f"lora_unet.{path}.{inner}".replace(".", "_")
        for path, module in view.named_modules()
        if type(module).__name__ in classes
        for inner, layer in module.named_modules()
        if type(layer) in (nn.Linear, nn.Conv2d)
    )


@pytest.mark.parametrize(
    ("name", "size", "classes"),
    [
        ("lora", 722, {"Transformer2DModel"}),
        ("lora_with_convolutions", 788, {"Transformer2DModel"} | BLOCKS),
        ("attention", 560, {"CrossAttention"}),
        ("convolution_preset", 66, BLOCKS),
        ("full", 788, {"Transformer2DModel"} | BLOCKS),
    ],
)
def test_module_lists(view, name, size, classes):
    found = adapted_inside(view, classes)
    assert len(found) == size
    assert found == MODULE_LISTS[name]


def test_text_encoders():
    encoders = [view_of_clip(empty_sd15_text_encoder()), view_of_clip(empty_sdxl_second_text_encoder())]
    found = [target.name for target in find_targets(encoders, nn.Module(), SELECTION)]
    assert len(found) == 72 + 192
    assert sorted(found) == MODULE_LISTS["text_encoders"]


def test_our_own_discovery_finds_the_list(view):
    targets = find_targets(None, view, SELECTION).unet
    assert sorted(target.name for target in targets) == MODULE_LISTS["lora"]
    assert len({id(target.layer) for target in targets}) == 722


def test_every_leaf_is_the_models_own_under_its_original_name(unet, view):
    leaves = {f"lora_unet_{path.replace('.', '_')}": leaf for path, leaf in leaves_of(view).items()}
    compared = 0
    for name, path in ORIGINAL_NAMES.items():
        if name in leaves:
            assert leaves[name] is unet.get_submodule(path), name
            compared += 1
    assert compared == len(ORIGINAL_NAMES) == 1050
    weighted = {id(module) for module in unet.modules() if any(True for _ in module.parameters(recurse=False))}
    assert {id(leaf) for leaf in leaves.values()} >= weighted


def test_the_view_shows_the_model(unet, view):
    assert type(view).__name__ == "SdxlUNet2DConditionModel"
    assert view.config is unet.config
    assert view.dtype == torch.float32
    assert len(view.input_blocks) == 9
    assert type(view.input_blocks[4][1]).__name__ == "Transformer2DModel"
    assert type(view.output_blocks[2][2]).__name__ == "Upsample2D"
