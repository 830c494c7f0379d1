"""lora_forward.json and lora_keys_sd15.json: the arithmetic, names, shapes and order of LoRA tensors."""

from collections import Counter

import pytest
import torch
from torch import nn

from library.models.network_view import view_of_clip, view_of_unet
from networks.lora import LoRALayer, create_network
from tests.golden.tables import numbered, table, tensors
from tests.models.full_size import empty_sd15_text_encoder, empty_sd15_unet

FORWARD = table("lora_forward")
FORWARD_TENSORS = tensors("lora_forward")
KEYS = table("lora_keys_sd15")


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
    return [variant for variant in KEYS["variants"] if not variant["network_args"]]


@pytest.mark.parametrize(("name", "variant"), numbered(available_variants(), "name"))
def test_file_keys_of_sd15(name, variant):
    unet = view_of_unet(empty_sd15_unet())
    text_encoder = view_of_clip(empty_sd15_text_encoder())
    network = create_network(1.0, variant["network_dim"], variant["network_alpha"], None, text_encoder, unet)
    network.apply_to(text_encoder, unet, variant["train_text_encoder"], variant["train_unet"])
    assert len(network.unet_loras) == variant["modules"]["unet"]
    assert len(network.text_encoder_loras) == variant["modules"]["text_encoder"]
    state = network.state_dict()
    assert len(state) == variant["tensor_count"]
    assert [[key, list(value.shape)] for key, value in state.items()] == variant["tensors"]
    assert {str(value.dtype) for value in state.values()} == {"torch.float32"}
    alphas = Counter(value.item() for key, value in state.items() if key.endswith(".alpha"))
    assert alphas == dict(variant["alpha_values"])


def test_there_is_a_key_variant():
    assert available_variants()
