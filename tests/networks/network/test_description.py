"""What the log says about a network."""

import logging
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from networks.network.creation import NetworkModule
from networks.network.description import describe_groups, describe_network
from networks.network.layer_network import LayerNetwork
from tests.networks.adapted_model import AdaptedModel

SOME = r"attentions_0_transformer_blocks_0_attn1_to_q$|layers_0_mlp_fc1$|resnets_0_conv1$"


def made(module: str, rank: int = 4, alpha: float = 2.0, file=None, **arguments) -> LayerNetwork:
    views = AdaptedModel().views()
    create = NetworkModule(f"networks.{module}")
    arguments = {"include_patterns": SOME} | arguments
    if file is not None:
        network, _ = create.create_network_from_weights(1.0, file, None, *views, **arguments)
    else:
        network = create.create_network(1.0, rank, alpha, None, *views, **arguments)
    network.apply_to(*views)
    return network


def described(network: LayerNetwork) -> str:
    groups, _ = network.prepare_optimizer_params(0.1, 0.1, 0.1)
    return describe_network(network, groups)


@pytest.mark.parametrize(
    ("module", "arguments", "expected"),
    [
        ("lora", {}, "LoRA, rank 4 and alpha 2"),
        ("dora", {}, "LoRA with DoRA, rank 4 and alpha 2"),
        ("loha", {}, "LoHa, rank 4 and alpha 2"),
        ("full", {}, "Full"),
    ],
)
def test_kinds_and_sizes(module, arguments, expected):
    network = made(module, **arguments)
    counts = f"{len(network.unet_loras)} layers in the U-Net, 1 layer in the text encoders"
    numbers = sum(parameter.numel() for parameter in network.get_trainable_params())
    assert len(network.unet_loras) > 1
    assert described(network) == f"{counts}, {expected}, {numbers:,} numbers that are trained"


def test_several_sizes_are_counted():
    network = made("lora", conv_dim="2", conv_alpha="1")
    spatial = sum(isinstance(layer.layer, nn.Conv2d) for layer in network.layers())
    others = len(network.layers()) - spatial
    assert spatial > others > 1
    sizes = f"rank 2 and alpha 1 ({spatial} layers), rank 4 and alpha 2 ({others} layers)"
    assert f", LoRA, {sizes}, " in described(network)


def test_rotations_have_blocks():
    assert ", OFT, 2 blocks of " in described(made("oft", rank=2, constraint="0", preset="full"))


def test_networks_of_others():
    layer = SimpleNamespace(lora_dim=8, alpha=torch.tensor(1.5))
    groups = [{"params": [nn.Parameter(torch.ones(1500))], "lr": 0.5}, {"params": [nn.Parameter(torch.ones(1))]}]
    theirs = SimpleNamespace(unet_loras=[layer, layer])
    assert describe_network(theirs, groups) == (
        "2 layers in the U-Net, SimpleNamespace, rank 8 and alpha 1.5, 1,501 numbers that are trained"
    )
    assert describe_network(object(), groups) == "1,501 numbers that are trained"
    assert describe_groups(groups, ["a", "b"], 0.25) == "a (learning rate 0.5), b (learning rate 0.25)"
    assert describe_groups(groups, ["a", "b"], None) == (
        "a, b; the optimizer takes steps of its own size, whatever the learning rate is"
    )


def test_every_layer_is_named_if_asked_to(caplog, tmp_path):
    network = made("lora", verbose="True", loraplus_unet_lr_ratio="4")
    with caplog.at_level(logging.INFO, "networks.network.layer_network"):
        network.prepare_optimizer_params(0.0, 0.1, 0.1)
    lines = dict(record.message.split(": ", 1) for record in caplog.records)
    assert list(lines) == [layer.lora_name for layer in network.layers()]
    text_layer, unet_layer = network.text_encoder_loras[0], network.unet_loras[0]
    shape = "x".join(map(str, unet_layer.layer.weight.shape))
    assert lines[unet_layer.lora_name] == f"LoRA, {shape}, rank 4 and alpha 2, trained as unet and unet plus"
    assert lines[text_layer.lora_name].endswith(", rank 4 and alpha 2, not trained")

    network.save_weights(str(tmp_path / "network.safetensors"), None, {})
    caplog.clear()
    with caplog.at_level(logging.INFO, "networks.network.layer_network"):
        made("lora", file=str(tmp_path / "network.safetensors"), verbose="True").prepare_optimizer_params(0.1, 0.1, 0.1)
    assert len(caplog.records) == len(lines)


def test_without_being_asked_no_layer_is_named(caplog):
    with caplog.at_level(logging.INFO, "networks.network.layer_network"):
        made("lora").prepare_optimizer_params(0.1, 0.1, 0.1)
    assert caplog.records == []
