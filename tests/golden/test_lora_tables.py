"""lora_forward.json and lora_keys_*.json: the arithmetic, names, shapes and order of LoRA tensors."""

from collections import Counter
from collections.abc import Mapping

import pytest
import torch
from torch import nn

from networks.kinds.lora import LoRALayer
from networks.layers.dropouts import Dropouts
from networks.lora import create_network
from networks.network.weight_norm_limit import limit_norms
from tests.golden.tables import numbered, table, tensors
from tests.models.full_size import full_size_views

FORWARD = table("lora_forward")
FORWARD_TENSORS = tensors("lora_forward")
FILE_SUFFIXES = ("lora_down.weight", "lora_up.weight", "alpha")
KEYS = {family: table(f"lora_keys_{family}") for family in ("sd15", "sd21", "sdxl")}


def build_layer(name: str, case) -> tuple[nn.Module, LoRALayer, dict[str, torch.Tensor]]:
    """The base layer, its adapter with the table's weights, and all tensors of the case."""
    prefix = f"{name}."
    data = {key.removeprefix(prefix): value for key, value in FORWARD_TENSORS.items() if key.startswith(prefix)}
    if case["layer"] == "linear":
        layer: nn.Module = nn.Linear(case["in"], case["out"], bias=case["bias"])
    else:
        kernel = data["weight"].shape[-1]
        layer = nn.Conv2d(case["in"], case["out"], kernel, case["stride"], case["padding"], bias=case["bias"])
    layer.load_state_dict({name: data[name] for name in ("weight", "bias") if name in data})
    dropouts = Dropouts(rank=case.get("rank_dropout", 0.0), module=case.get("module_dropout", 0.0))
    adapter = LoRALayer("adapter", layer, case["rank"], case["alpha_given"], case["multiplier"], dropouts)
    assert adapter.alpha.item() == case["alpha_saved"]
    assert adapter.scale == pytest.approx(case["scale"])
    adapter.load_tensors({suffix: data[suffix] for suffix in FILE_SUFFIXES})
    return layer, adapter, data


@pytest.mark.parametrize(("name", "case"), numbered(FORWARD["cases"], "name"))
def test_forward_and_merge(name, case, monkeypatch):
    layer, adapter, data = build_layer(name, case)
    close(layer(data["x"]), data["y"])
    adapter.hook_into_layer()
    if "uniform" in data:
        monkeypatch.setattr(torch, "rand", lambda *shape, device=None: checked(data["uniform"], shape))
    close(layer(data["x"]), data["y_lora"])
    assert torch.equal(data["y_lora"], data["y"]) == case.get("skipped", False)
    adapter.merge()
    close(layer.weight, data["merged"])


def checked(uniform: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    assert tuple(uniform.shape) == shape
    return uniform


def close(first: torch.Tensor, second: torch.Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


def test_all_kinds_of_forward_cases_are_there():
    cases = FORWARD["cases"]
    assert Counter(case["layer"] for case in cases) == {"linear": 7, "conv3x3": 7, "conv1x1": 7}
    assert sum("rank_dropout" in case for case in cases) == 3
    assert sum("module_dropout" in case for case in cases) == 6
    assert len(FORWARD["max_norm"]) == 3


@pytest.mark.parametrize(("name", "group"), numbered(FORWARD["max_norm"], "name"))
def test_limit_of_norms(name, group):
    layers, expected = [], {}
    for module in group["modules"]:
        before, after = f"{name}.{module['name']}.", f"{name}.after.{module['name']}."
        tensors = {suffix: FORWARD_TENSORS[before + suffix] for suffix in FILE_SUFFIXES}
        layers.append(LoRALayer.from_tensors(after, base_layer_for(tensors), tensors))
        assert layers[-1].alpha.item() == module["alpha"]
        expected |= {key: value for key, value in FORWARD_TENSORS.items() if key.startswith(after)}
    report = limit_norms(layers, group["limit"])
    for layer in layers:
        for suffix in ("lora_down.weight", "lora_up.weight"):
            close(layer.state_dict()[suffix], expected.pop(layer.lora_name + suffix))
    assert not expected
    assert report.layers_scaled.item() == group["keys_scaled"]
    assert report.mean.item() == pytest.approx(group["mean_norm"], rel=1e-5)
    assert report.maximum.item() == pytest.approx(group["max_norm_after"], rel=1e-5)


def base_layer_for(tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    inputs, outputs = tensors["lora_down.weight"].shape[1], tensors["lora_up.weight"].shape[0]
    kernel = tensors["lora_down.weight"].shape[2:]
    return nn.Conv2d(inputs, outputs, tuple(kernel)) if kernel else nn.Linear(inputs, outputs)


def variants():
    return [(family, variant) for family, keys in KEYS.items() for variant in keys["variants"]]


@pytest.mark.parametrize(
    ("family", "variant"), variants(), ids=lambda value: value if isinstance(value, str) else value["name"]
)
def test_file_keys(family, variant):
    views = full_size_views(family)
    encoders = views.text_encoders_as_kohya()
    rank, alpha = variant["network_dim"], variant["network_alpha"]
    network = create_network(1.0, rank, alpha, None, encoders, views.unet, **variant["network_args"])
    network.apply_to(encoders, views.unet, variant["train_text_encoder"], variant["train_unet"])
    assert len(network.unet_loras) == variant["modules"]["unet"]
    assert len(network.text_encoder_loras) == variant["modules"]["text_encoder"]
    state = network.state_dict()
    assert len(state) == variant["tensor_count"]
    assert [[key, list(value.shape)] for key, value in state.items()] == variant["tensors"]
    assert {str(value.dtype) for value in state.values()} == {"torch.float32"}
    alphas = Counter(value.item() for key, value in state.items() if key.endswith(".alpha"))
    assert alphas == dict(variant["alpha_values"])


def test_there_are_key_variants_of_each_family():
    assert Counter(family for family, _ in variants()) == {"sd15": 2, "sd21": 2, "sdxl": 2}
