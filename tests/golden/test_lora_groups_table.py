"""lora_keys_*.json: which tensors of a LoRA are trained at which rate, block by block and with LoRA+."""

import pytest

from networks.lora import create_network
from tests.golden.test_lora_tables import KEYS
from tests.models.full_size import full_size_views


def examples(part: str):
    return [
        pytest.param(family, example, id=f"{family}-{number}")
        for family, keys in KEYS.items()
        for number, example in enumerate(keys[part])
    ]


def build(family, example):
    """The network, its groups and their descriptions."""
    views = full_size_views(family)
    encoders = views.text_encoders_as_kohya()
    network = create_network(
        1.0, example["network_dim"], example["network_alpha"], None, encoders, views.unet, **example["network_args"]
    )
    rates = example["learning_rates"]
    groups, descriptions = network.prepare_optimizer_params(
        rates["text_encoder_lr"], rates["unet_lr"], rates["learning_rate"]
    )
    return network, groups, descriptions


def assert_groups(groups, descriptions, expected):
    assert descriptions == [group["description"] for group in expected]
    assert [group["lr"] for group in groups] == pytest.approx([group["lr"] for group in expected], rel=1e-6)
    assert [len(group["params"]) for group in groups] == [group["tensors"] for group in expected]
    scalars = [sum(parameter.numel() for parameter in group["params"]) for group in groups]
    assert scalars == [group["scalars"] for group in expected]


@pytest.mark.parametrize(("family", "example"), examples("loraplus_examples"))
def test_loraplus(family, example):
    network, groups, descriptions = build(family, example)
    assert len(network.unet_loras) == example["unet_modules"]
    assert len(network.text_encoder_loras) == example["text_encoder_modules"]
    assert_groups(groups, descriptions, example["groups"])


@pytest.mark.parametrize(("family", "example"), examples("block_examples"))
def test_blocks(family, example):
    network, groups, descriptions = build(family, example)
    assert len(network.unet_loras) == example["unet_modules"]
    assert len(network.text_encoder_loras) == example["text_encoder_modules"]
    assert_groups(groups, descriptions, example["groups"])
    rate_of = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    rows = [
        [
            layer.lora_name, layer.lora_dim, layer.alpha.item(),
            rate_of[id(layer.lora_down.weight)], rate_of[id(layer.lora_up.weight)],
        ]
        for layer in network.unet_loras
    ]  # fmt: skip
    assert [row[:3] for row in rows] == [[name, rank, alpha] for name, rank, alpha, _, _, _ in example["modules"]]
    expected = [(down, up) for *_, down, up in example["modules"]]
    assert [row[3] for row in rows] == pytest.approx([down for down, _ in expected], rel=1e-6)
    assert [row[4] for row in rows] == pytest.approx([up for _, up in expected], rel=1e-6)


def test_there_are_examples_of_each_family():
    for part, least in (("loraplus_examples", 4), ("block_examples", 6)):
        assert all(len(keys[part]) >= least for keys in KEYS.values())
    assert set(KEYS) == {"sd15", "sd21", "sdxl"}
