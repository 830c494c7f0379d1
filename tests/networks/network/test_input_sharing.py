"""Layers of one attention share the projection of their input: which ones, and that nothing changes by it."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from networks.dylora import create_network as create_dylora
from networks.lora import create_network
from networks.network.input_sharing import siblings
from networks.network.layer_network import LayerNetwork
from tests.models.tiny import tiny_adapter

NO_SIZES = torch.zeros(1, 6, dtype=torch.int64)
SELF, CROSS, TEXT = 16, 16, 2
"""Attentions of the tiny model: each transformer block has one of both kinds."""


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        yield


def test_siblings_by_name():
    sd, sdxl, text = (
        "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0",
        "lora_unet_input_blocks_4_1_",
        "lora_te1_",
    )
    names = [
        f"{sd}_attn1_to_v", f"{sd}_attn1_to_q", f"{sd}_attn1_to_k", f"{sd}_attn1_to_out_0",
        f"{sd}_attn2_to_q", f"{sd}_attn2_to_v", f"{sd}_attn2_to_k",
        f"{sdxl}transformer_blocks_0_attn1_to_q", f"{sdxl}transformer_blocks_1_attn1_to_k",
        f"{sdxl}transformer_blocks_1_attn2_to_q", f"{sdxl}transformer_blocks_1_attn2_to_k",
        f"{text}text_model_encoder_layers_0_self_attn_k_proj", f"{text}text_model_encoder_layers_0_self_attn_v_proj",
        f"{text}text_model_encoder_layers_0_self_attn_out_proj", f"{text}text_model_encoder_layers_0_mlp_fc1",
    ]  # fmt: skip
    assert siblings(names) == [
        [f"{sd}_attn1_to_q", f"{sd}_attn1_to_k", f"{sd}_attn1_to_v"],
        [f"{sd}_attn2_to_k", f"{sd}_attn2_to_v"],
        [f"{text}text_model_encoder_layers_0_self_attn_k_proj", f"{text}text_model_encoder_layers_0_self_attn_v_proj"],
    ]


class Setting:
    def __init__(self):
        self.model = tiny_adapter()
        self.views = self.model.views()
        generator = torch.Generator().manual_seed(8)
        self.latents = torch.randn(1, 4, 16, 16, generator=generator)

    def create(self, create=create_network, **arguments: str) -> LayerNetwork:
        encoder, unet = self.views.text_encoders_as_kohya(), self.views.unet
        network = create(1.0, 3, 2.0, None, encoder, unet, **arguments)
        network.apply_to(encoder, unet)
        with torch.no_grad():
            for layer in network.layers():
                layer.lora_up.weight.normal_(0, 0.1)
        return network

    def output(self) -> torch.Tensor:
        states = self.model.encode_text(self.model.tokenize(["a cat"]))
        return self.model.predict(self.latents, torch.tensor([300]), states, NO_SIZES)


def sharing(network: LayerNetwork) -> list:
    return [layer for layer in network.layers() if layer._projection is not None]


def without_sharing(network: LayerNetwork) -> None:
    for layer in network.layers():
        layer._projection = None


def outputs_and_gradients(setting: Setting, network: LayerNetwork) -> list[torch.Tensor]:
    network.zero_grad()
    output = setting.output()
    output.sin().sum().backward()
    return [output.detach(), *(parameter.grad.clone() for parameter in network.parameters())]


ARGUMENTS = {
    "as it is": {},
    "other ranks": {"network_reg_dims": "to_k=5,v_proj=2"},
    "some members only": {"exclude_patterns": "attn1.to_k,q_proj"},
    "a scalar": {"use_scalar": "True"},
}


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
def test_sharing_changes_nothing(arguments):
    setting = Setting()
    network = setting.create(**arguments)
    left_out = 1 if "exclude_patterns" in arguments else 0
    assert len(sharing(network)) == (3 - left_out) * SELF + 2 * CROSS + (3 - left_out) * TEXT
    for layer in network.layers():
        if layer.scalar is not None:
            torch.nn.init.constant_(layer.scalar, 0.5)
    shared = outputs_and_gradients(setting, network)
    without_sharing(network)
    alone = outputs_and_gradients(setting, network)
    assert sum(gradient.abs().sum() > 0 for gradient in alone[1:]) == len(list(network.parameters()))
    for one, two in zip(shared, alone, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_multipliers_and_moments():
    """Evaluation, training and other strengths by turns: nothing computed earlier is taken for what is needed now."""
    setting = Setting()
    network = setting.create()
    with torch.no_grad():
        setting.output()
    for multiplier in (1.0, 0.0, 0.5):
        network.set_multiplier(multiplier)
        output = setting.output()
        if multiplier:
            network.zero_grad()
            output.sum().backward()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.sub_(1e-4 * parameter.grad)
        shared = setting.output()
        kept = [layer._projection for layer in network.layers()]
        without_sharing(network)
        torch.testing.assert_close(shared, setting.output(), rtol=1e-4, atol=1e-5)
        for layer, projection in zip(network.layers(), kept, strict=True):
            layer._projection = projection


def test_under_gradient_checkpointing():
    setting = Setting()
    network = setting.create()
    expected = outputs_and_gradients(setting, network)
    attention = setting.model._unet.mid_block.attentions[0]
    original = attention.forward
    attention.forward = lambda *arguments, **keywords: checkpoint(original, *arguments, use_reentrant=False, **keywords)
    found = outputs_and_gradients(setting, network)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("create", "arguments"),
    [
        (create_network, {"module_dropout": "0.1"}),
        (create_network, {"dora_wd": "True"}),
        (create_network, {"init": "pissa"}),
        (create_dylora, {}),
    ],
)
def test_who_does_not_share(create, arguments):
    network = Setting().create(create, **arguments)
    assert sharing(network) == []


def test_layers_of_a_second_network_do_not_share():
    """Their layers' forward is no longer the stock one."""
    setting = Setting()
    first, second = setting.create(), setting.create()
    assert len(sharing(first)) == 3 * SELF + 2 * CROSS + 3 * TEXT
    assert sharing(second) == []
