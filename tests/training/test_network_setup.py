"""Networks of others, as the trainer builds them."""

import logging

import pytest

from library.errors import UserError
from library.options.groups import NetworkOptions, OptimizerOptions
from library.training.network_setup import build_network
from networks.contract import import_network_module
from tests.models.tiny import tiny_adapter
from tests.networks.third_party import THIRD_PARTY, build


def test_the_trainer_builds_it():
    trainable = build(THIRD_PARTY, learning_rate=0.5)
    assert [group["lr"] for group in trainable.groups] == [0.5]
    assert trainable.groups[0]["params"] == [trainable.network.value]
    assert trainable.descriptions == ["group0"]
    trainable.network.eval()
    trainable.before_epoch()
    trainable.before_batch()
    assert trainable.network.training


@pytest.mark.parametrize(
    ("module", "arguments", "rates", "said", "useless"),
    [
        ("lora", (), {"text_encoder_lr": (0.1,), "unet_lr": 0.1}, "192 layers in the U-Net, 12 layers in the text", []),
        ("oft", ("constraint=0",), {"text_encoder_lr": (0.1,)}, "128 layers in the U-Net, ", ["text_encoder_lr"]),
        ("oft", ("constraint=0",), {"text_encoder_lr": (0.0,)}, "128 layers in the U-Net, ", []),
        ("lora", ("include_patterns=text_model",), {"unet_lr": 0.1}, "12 layers in the text encoders, ", ["unet_lr"]),
    ],
)
def test_what_is_trained_is_said(caplog, module, arguments, rates, said, useless):
    options = NetworkOptions(network_module=f"networks.{module}", network_args=arguments)
    with caplog.at_level(logging.INFO, "library.training.network_setup"):
        made = import_network_module(f"networks.{module}")
        trainable = build_network(
            made, tiny_adapter(), options, OptimizerOptions(learning_rate=0.1, **rates), {}, 1, True
        )
    told = [record for record in caplog.records if record.name == "library.training.network_setup"]
    numbers = sum(weight.numel() for weight in trainable.network.parameters() if weight.requires_grad)
    assert told[0].message.startswith(f"networks.{module}: {said}")
    assert told[0].message.endswith(f", {numbers:,} numbers that are trained")
    groups = zip(trainable.descriptions, trainable.groups, strict=True)
    rates_told = ", ".join(f"{description} (learning rate {group['lr']:g})" for description, group in groups)
    assert told[1].message == f"optimizer groups: {rates_told}"
    assert [record.message.split(" has no effect: ")[0] for record in told[2:]] == [f"--{name}" for name in useless]


def test_networks_of_others_are_described_as_far_as_they_tell(caplog):
    with caplog.at_level(logging.INFO, "library.training.network_setup"):
        build(THIRD_PARTY, learning_rate=0.5)
    told = [record.message for record in caplog.records if record.name == "library.training.network_setup"]
    assert told[0].startswith("their_network: ")
    assert told[0].endswith("1 numbers that are trained")
    assert told[1] == "optimizer groups: group0 (learning rate 0.5)"


def test_optional_methods_are_called():
    code = THIRD_PARTY.replace(
        "    def on_epoch_start",
        """    def prepare_network(self, args):
        self.seed = args.seed

    def on_step_start(self, text_encoder, unet):
        self.steps = getattr(self, "steps", 0) + 1

    def prepare_optimizer_params_with_multiple_te_lrs(self, text_encoder_lr, unet_lr, default_lr):
        self.rates = (text_encoder_lr, unet_lr, default_lr)
        return [{"params": [self.value]}], ["all"]

    def on_epoch_start""",
    )
    trainable = build(code, learning_rate=0.5, text_encoder_lr=(0.1,), unet_lr=0.2)
    trainable.before_batch()
    network = trainable.network
    assert (network.seed, network.steps, network.rates) == (7, 1, ([0.1], 0.2, 0.5))
    assert (trainable.groups, trainable.descriptions) == ([{"params": [network.value]}], ["all"])


def test_modules_that_know_no_default_rate():
    code = THIRD_PARTY.replace("(self, text_encoder_lr, unet_lr, default_lr)", "(self, text_encoder_lr, unet_lr)")
    code = code.replace("unet_lr or default_lr", "unet_lr")
    assert [group["lr"] for group in build(code, unet_lr=0.3).groups] == [0.3]
    assert "lr" not in build(code, learning_rate=0.5).groups[0]


def test_errors_inside_prepare_optimizer_params_are_not_taken_for_an_older_form():
    code = THIRD_PARTY.replace("unet_lr or default_lr", "unet_lr + None")
    with pytest.raises(TypeError, match="NoneType"):
        build(code, unet_lr=0.1)


@pytest.mark.parametrize("groups", ["[]", '[{"params": [], "lr": 1.0}]', "([], [])"])
def test_nothing_to_train(groups):
    code = THIRD_PARTY.replace('[{"params": self.parameters(), "lr": unet_lr or default_lr}]', groups)
    with pytest.raises(UserError, match=r"^nothing would be trained"):
        build(code)


@pytest.mark.parametrize(
    ("arguments", "options", "rates", "why"),
    [
        (
            ("preset=unet-only", "dropout=0"),
            {"network_train_text_encoder_only": True},
            {},
            "networks.lora adapts no layer of the model: check --network_train_text_encoder_only with --network_args "
            "preset=unet-only",
        ),
        (
            (f"block_dims={','.join(['0'] * 25)}",),
            {"network_train_unet_only": True},
            {},
            "networks.lora adapts no layer of the model: check --network_train_unet_only with --network_args "
            f"block_dims={','.join(['0'] * 25)}",
        ),
        (
            (),
            {},
            {"text_encoder_lr": (0.0,), "unet_lr": 0.0},
            "every learning rate is 0: raise --learning_rate, --unet_lr or --text_encoder_lr",
        ),
    ],
)
def test_what_left_nothing_to_train_is_named(arguments, options, rates, why):
    given = NetworkOptions(network_module="networks.lora", network_args=arguments, **options)
    made = import_network_module("networks.lora")
    with pytest.raises(UserError) as caught:
        build_network(made, tiny_adapter(), given, OptimizerOptions(learning_rate=0.1, **rates), {}, 1, True)
    assert caught.value.problems == (f"nothing would be trained: {why}",)


def test_of_networks_that_do_not_tell_their_layers_both_reasons_are_named():
    code = THIRD_PARTY.replace('[{"params": self.parameters(), "lr": unet_lr or default_lr}]', "[]")
    with pytest.raises(UserError, match=r"their_network adapts no layer .*; or every learning rate is 0: raise"):
        build(code)


REPLACING = """
        class Wrapped(torch.nn.Module):
            def __init__(self, layer):
                super().__init__()
                self.base_layer = layer

            def forward(self, x):
                return self.base_layer(x)

        block = unet.mid_block.attentions[0]
        {change}
"""


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ("block.proj_in = Wrapped(block.proj_in)", "mid_block.attentions.0.proj_in"),
        ("block.transformer_blocks[0].attn1 = Wrapped(block.transformer_blocks[0].attn1)",
         "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"),
        ("block.adapter = torch.nn.Linear(2, 2)", "mid_block.attentions.0.adapter"),
        ("block.forward = lambda *arguments: None", "mid_block.attentions.0"),
        ("block.register_forward_hook(lambda *arguments: None)", "mid_block.attentions.0"),
        ("text_encoder.text_model.encoder.layers[0].mlp.fc1 = torch.nn.Identity()",
         "text_model.encoder.layers.0.mlp.fc1"),
    ],
)  # fmt: skip
def test_networks_that_change_the_view_only_are_refused(change, first):
    code = THIRD_PARTY.replace("        original = ", REPLACING.format(change=change) + "        original = ")
    with pytest.raises(UserError, match=rf"^--network_module their_network: it replaces or wraps {first} \("):
        build(code)


def test_a_layer_may_get_children_and_hooks():
    change = "block.proj_in.adapter = torch.nn.Linear(2, 2); block.proj_in.register_forward_hook(lambda *a: None)"
    code = THIRD_PARTY.replace("        original = ", REPLACING.format(change=change) + "        original = ")
    assert build(code).groups


def test_parameters_that_nothing_trains_get_no_gradients():
    code = THIRD_PARTY.replace(
        "        self.value = ", "        self.idle = torch.nn.Parameter(torch.ones(2))\n        self.value = "
    )
    code = code.replace("self.parameters(), ", "[self.value], ")
    network = build(code).network
    assert not network.idle.requires_grad
    assert network.value.requires_grad
