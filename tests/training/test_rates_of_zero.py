"""What has a learning rate of 0 is no part of the network, unless it was loaded: then it stays as it is."""

import pytest
import torch
from safetensors.torch import load_file

from library.models.family import SDXL
from library.options.groups import NetworkOptions, OptimizerOptions
from library.training.network_saving import save_network
from library.training.network_setup import TrainableNetwork, build_network
from networks.contract import import_network_module
from networks.layers.adapted_layer import AdaptedLayer
from tests.models.tiny import tiny_adapter
from tests.models.tiny_families import tiny_adapter_of
from tests.networks.third_party import THIRD_PARTY, module_of

TEXT_LAYERS, UNET_LAYERS = 12, 192


def build(model, *arguments: str, module="networks.lora", weights=None, **rates) -> TrainableNetwork:
    options = NetworkOptions(
        network_module=module, network_dim=2, network_args=arguments or None, network_weights=weights
    )
    given = OptimizerOptions(**{"learning_rate": 1e-3} | rates)
    return build_network(import_network_module(module), model, options, given, {}, 1, False)


def parts(weights) -> dict[str, int]:
    """Part -> number of its layers."""
    names = {name.partition(".")[0] for name in weights}
    found = [name.split("_")[1] for name in names]
    return {part: found.count(part) for part in sorted(set(found))}


def adapted(model) -> int:
    """Layers of the model that some network is hooked into."""
    modules = [model._unet, *model.text_encoders()]
    forwards = [vars(layer).get("forward") for module in modules for layer in module.modules()]
    return sum(isinstance(getattr(forward, "__self__", None), AdaptedLayer) for forward in forwards)


@pytest.mark.parametrize(
    ("rates", "expected", "descriptions"),
    [
        ({}, {"te": TEXT_LAYERS, "unet": UNET_LAYERS}, ["textencoder", "unet"]),
        ({"text_encoder_lr": (0.0,)}, {"unet": UNET_LAYERS}, ["unet"]),
        ({"unet_lr": 0.0}, {"te": TEXT_LAYERS}, ["textencoder"]),
        ({"learning_rate": 0.0, "unet_lr": 1e-3}, {"unet": UNET_LAYERS}, ["unet"]),
    ],
)
def test_parts(tmp_path, rates, expected, descriptions):
    model = tiny_adapter()
    trainable = build(model, **rates)
    assert trainable.descriptions == descriptions
    assert adapted(model) == sum(expected.values()) == len(trainable.network.layers())
    save_network(trainable.network, tmp_path / "network.safetensors", None, {})
    assert parts(load_file(tmp_path / "network.safetensors")) == expected
    assert all(weight.requires_grad for weight in trainable.network.parameters())


def test_a_text_encoder():
    trainable = build(tiny_adapter_of(SDXL), text_encoder_lr=(0.0, 1e-3))
    assert parts(trainable.network.file_tensors()).keys() == {"te2", "unet"}


def test_layers_that_an_argument_gives_no_rate():
    model = tiny_adapter()
    trainable = build(model, "network_reg_lrs=mid_block.*_to_q=0")
    queries = [name for name in trainable.network.file_tensors() if "mid_block" in name and "_to_q." in name]
    assert queries == []
    assert adapted(model) == len(trainable.network.layers()) < TEXT_LAYERS + UNET_LAYERS


def test_layers_that_an_argument_gives_a_rate():
    trainable = build(tiny_adapter(), "network_reg_lrs=mlp_fc1=1e-4", text_encoder_lr=(0.0,))
    names = {layer.lora_name for layer in trainable.network.text_encoder_loras}
    assert len(names) == 2
    assert all("mlp_fc1" in name for name in names)


def prediction(model) -> torch.Tensor:
    text = model.encode_text(model.tokenize(["a cat"]))
    return model.predict(torch.linspace(-2, 2, 256).view(1, 4, 8, 8), torch.tensor([300]), text, None)


@pytest.mark.parametrize("module", ["networks.lora", "networks.loha"])
def test_the_model_computes_as_without_what_is_left_out(module):
    """Also where layers that get the same input share a projection, and only some of them are left."""
    left = ("network_reg_lrs=mid_block.*_to_q=0",)
    model, other = tiny_adapter(), tiny_adapter()
    trainable = build(model, *left, module=module, text_encoder_lr=(0.0,))
    complete = build(other, module=module)
    names = {layer.lora_name for layer in trainable.network.layers()}
    generator = torch.Generator().manual_seed(1)
    whole = {layer.lora_name: layer for layer in complete.network.layers()}
    for name, layer in whole.items():
        for weight in layer.parameters():
            weight.data = torch.randn(weight.shape, generator=generator) * 0.1 * (name in names)
    for layer in trainable.network.layers():
        layer.load_state_dict(whole[layer.lora_name].state_dict())
    torch.testing.assert_close(prediction(model), prediction(other))
    assert not torch.allclose(prediction(model), prediction(tiny_adapter()))


@pytest.fixture
def trained(tmp_path) -> str:
    """A network of both parts that changes something."""
    network = build(tiny_adapter()).network
    for weight in network.parameters():
        weight.data.fill_(0.01)
    save_network(network, tmp_path / "trained.safetensors", None, {})
    return str(tmp_path / "trained.safetensors")


def test_what_was_loaded_is_kept_as_it_is(trained, tmp_path):
    trainable = build(tiny_adapter(), weights=trained, text_encoder_lr=(0.0,))
    network = trainable.network
    assert trainable.descriptions == ["unet"]
    still = [name for name, weight in network.named_parameters() if not weight.requires_grad]
    assert len(still) == 2 * TEXT_LAYERS
    assert all(name.startswith("lora_te_") for name in still)
    network.apply_max_norm_regularization(1e-6)
    save_network(network, tmp_path / "again.safetensors", None, {})
    before, after = load_file(trained), load_file(tmp_path / "again.safetensors")
    assert before.keys() == after.keys()
    for name, weight in before.items():
        is_changed = name.startswith("lora_unet_") and not name.endswith("alpha")
        assert torch.equal(weight, after[name]) != is_changed


def test_what_was_not_in_the_file_is_left_out(tmp_path):
    network = build(tiny_adapter(), text_encoder_lr=(0.0,)).network
    save_network(network, tmp_path / "unet.safetensors", None, {})
    again = build(tiny_adapter(), weights=str(tmp_path / "unet.safetensors"), text_encoder_lr=(0.0,)).network
    assert parts(again.file_tensors()) == {"unet": UNET_LAYERS}


APPLIED = THIRD_PARTY.replace(
    "        original = self.layer[0].forward", "        self.parts = (apply_text_encoder, apply_unet)\n        return"
)


@pytest.mark.parametrize(
    ("rates", "arguments", "expected"),
    [
        ({}, (), (True, True)),
        ({"text_encoder_lr": (0.0,)}, (), (False, True)),
        ({"text_encoder_lr": (0.0,)}, ("network_reg_lrs=a=1",), (True, True)),
        ({"learning_rate": 0.0, "unet_lr": 1e-3}, (), (False, True)),
    ],
)
def test_networks_of_others_are_not_applied_to_a_part_without_a_rate(rates, arguments, expected):
    options = NetworkOptions(network_module="their_network", network_args=("block=6", *arguments))
    given = OptimizerOptions(**{"learning_rate": 1e-3} | rates)
    trainable = build_network(module_of(APPLIED), tiny_adapter(), options, given, {}, 1, False)
    assert trainable.network.parts == expected


def test_groups_of_others_without_a_rate_are_frozen():
    code = THIRD_PARTY.replace(
        '[{"params": self.parameters(), "lr": unet_lr or default_lr}]',
        '([{"params": [self.other], "lr": 0.0}, {"params": [self.value]}, {"params": []}], ["a", "b", "c"])',
    ).replace("torch.zeros(()))", "torch.zeros(()))\n        self.other = torch.nn.Parameter(torch.ones(()))")
    options = NetworkOptions(network_module="their_network", network_args=("block=6",))
    trainable = build_network(module_of(code), tiny_adapter(), options, OptimizerOptions(), {}, 1, False)
    assert (trainable.groups, trainable.descriptions) == ([{"params": [trainable.network.value]}], ["b"])
    assert (trainable.network.value.requires_grad, trainable.network.other.requires_grad) == (True, False)
