"""lora_forward.json and lora_keys_*.json: the arithmetic, names, shapes and order of LoRA tensors."""

from collections import Counter
from functools import cache

import pytest
import torch
from torch import nn

from library.models.adapter import NetworkViews
from library.models.network_view import view_of_clip, view_of_sdxl_unet, view_of_unet
from library.models.stable_diffusion.projections import project_by_convolution
from networks.lora import LoRALayer, create_network
from tests.golden.tables import numbered, table, tensors
from tests.models.full_size import (
    empty_sd15_text_encoder,
    empty_sd15_unet,
    empty_sd21_text_encoder,
    empty_sd21_unet,
    empty_sdxl_second_text_encoder,
    empty_sdxl_unet,
)

FORWARD = table("lora_forward")
FORWARD_TENSORS = tensors("lora_forward")
KEYS = {family: table(f"lora_keys_{family}") for family in ("sd15", "sd21", "sdxl")}


def available_forward_cases():
    cases = [case for case in FORWARD["cases"] if case["layer"] in ("linear", "conv1x1")]
    return [case for case in cases if not case.keys() & {"rank_dropout", "module_dropout"}]


def build_layer(case) -> nn.Module:
    data = {key.split(".", 1)[1]: value for key, value in FORWARD_TENSORS.items() if key.startswith(case["name"] + ".")}
    if case["layer"] == "linear":
        layer: nn.Module = nn.Linear(case["in"], case["out"], bias=case["bias"])
    else:
        kernel = data["weight"].shape[-1]
        layer = nn.Conv2d(case["in"], case["out"], kernel, case["stride"], case["padding"], bias=case["bias"])
    layer.load_state_dict({name: data[name] for name in ("weight", "bias") if name in data})
    adapter = LoRALayer("adapter", layer, case["rank"], case["alpha_given"], case["multiplier"])
    assert adapter.alpha.item() == case["alpha_saved"]
    assert adapter.scale == pytest.approx(case["scale"])
    names = ("lora_down.weight", "lora_up.weight", "alpha")
    adapter.load_state_dict({name: data[name] for name in names if name in data}, strict=False)
    return layer, adapter, data


@pytest.mark.parametrize(("name", "case"), numbered(available_forward_cases(), "name"))
def test_forward_and_merge(name, case):
    layer, adapter, data = build_layer(case)
    torch.testing.assert_close(layer(data["x"]), data["y"], rtol=1e-5, atol=1e-5)
    adapter.hook_into_layer()
    torch.testing.assert_close(layer(data["x"]), data["y_lora"], rtol=1e-5, atol=1e-5)
    adapter.merge()
    torch.testing.assert_close(layer.weight, data["merged"], rtol=1e-5, atol=1e-5)


def test_there_are_forward_cases():
    assert len(available_forward_cases()) >= 8


def available_variants():
    """Those without arguments that later networks bring."""
    return [
        (family, variant)
        for family, keys in KEYS.items()
        for variant in keys["variants"]
        if not variant["network_args"]
    ]


@cache
def views_of(family: str) -> NetworkViews:
    if family == "sdxl":
        encoders = (view_of_clip(empty_sd15_text_encoder()), view_of_clip(empty_sdxl_second_text_encoder()))
        return NetworkViews(view_of_sdxl_unet(empty_sdxl_unet()), encoders, nn.Identity())
    unet, encoder = {
        "sd15": (empty_sd15_unet, empty_sd15_text_encoder),
        "sd21": (empty_sd21_unet, empty_sd21_text_encoder),
    }[family]
    built = unet()
    project_by_convolution(built)
    return NetworkViews(view_of_unet(built), (view_of_clip(encoder()),), nn.Identity())


@pytest.mark.parametrize(
    ("family", "variant"), available_variants(), ids=lambda value: value if isinstance(value, str) else value["name"]
)
def test_file_keys(family, variant):
    views = views_of(family)
    encoders = views.text_encoders_as_kohya()
    network = create_network(1.0, variant["network_dim"], variant["network_alpha"], None, encoders, views.unet)
    network.apply_to(encoders, views.unet, variant["train_text_encoder"], variant["train_unet"])
    assert len(network.unet_loras) == variant["modules"]["unet"]
    assert len(network.text_encoder_loras) == variant["modules"]["text_encoder"]
    state = network.state_dict()
    assert len(state) == variant["tensor_count"]
    assert [[key, list(value.shape)] for key, value in state.items()] == variant["tensors"]
    assert {str(value.dtype) for value in state.values()} == {"torch.float32"}
    alphas = Counter(value.item() for key, value in state.items() if key.endswith(".alpha"))
    assert alphas == dict(variant["alpha_values"])


def test_there_is_a_key_variant_of_each_family():
    assert {family for family, _ in available_variants()} == {"sd15", "sd21", "sdxl"}
