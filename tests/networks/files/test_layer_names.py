"""Kohya's names of layers and those of diffusers, both ways, for every layer of the real models."""

import json
from pathlib import Path

import pytest

from networks.files.layer_names import (
    diffusers_path,
    is_pointwise_projection,
    kohya_name,
    looks_like_sdxl,
    part_of,
    prefix_of,
)
from tests.golden.tables import table

SDXL_NAMES = json.loads((Path(__file__).parent / "sdxl_names.json").read_text())
"""Kohya's name of each layer of SDXL's U-Net -> path in diffusers; made from the two implementations."""


def layers_of(family: str) -> list[str]:
    variants = table(f"lora_keys_{family}")["variants"]
    keys = {key for variant in variants for key, _ in variant["tensors"]}
    return sorted({key.partition(".")[0] for key in keys})


def test_every_layer_of_sdxl():
    assert len(SDXL_NAMES) == 1050
    for name, path in SDXL_NAMES.items():
        assert diffusers_path(name) == f"unet.{path}"
        assert kohya_name("lora_unet_", path, sdxl=True) == name
        assert kohya_name("lora_unet_", path.replace(".", "_"), sdxl=True) == name
        assert kohya_name("lora_unet_", name.removeprefix("lora_unet_"), sdxl=True) == name


@pytest.mark.parametrize(
    ("family", "count", "sdxl"), [("sd15", 350, False), ("sd21", 416, False), ("sdxl", 1052, True)]
)
def test_every_layer_there_and_back(family, count, sdxl):
    names = layers_of(family)
    assert len(names) == count
    assert looks_like_sdxl(names) is sdxl
    for name in names:
        part, _, path = diffusers_path(name).partition(".")
        assert part == part_of(name)
        assert kohya_name(prefix_of(part, sdxl), path, sdxl) == name


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("lora_unet_down_blocks_0_resnets_1_time_emb_proj", "unet.down_blocks.0.resnets.1.time_emb_proj"),
        ("lora_unet_mid_block_attentions_0_proj_in", "unet.mid_block.attentions.0.proj_in"),
        (
            "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_attn2_to_out_0",
            "unet.up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_out.0",
        ),
        ("lora_unet_time_embedding_linear_2", "unet.time_embedding.linear_2"),
        ("lora_unet_conv_out", "unet.conv_out"),
        (
            "lora_te_text_model_encoder_layers_11_self_attn_out_proj",
            "text_encoder.text_model.encoder.layers.11.self_attn.out_proj",
        ),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc2", "text_encoder_2.text_model.encoder.layers.0.mlp.fc2"),
    ],
)
def test_paths(name, path):
    assert diffusers_path(name) == path


def test_a_foreign_name():
    assert part_of("lora_transformer_blocks_0") is None
    with pytest.raises(ValueError, match="lora_transformer_blocks_0"):
        diffusers_path("lora_transformer_blocks_0")


def test_text_encoders_without_the_level_text_model():
    name = kohya_name("lora_te1_", "encoder.layers.0.mlp.fc1", sdxl=True)
    assert name == "lora_te1_text_model_encoder_layers_0_mlp_fc1"


def test_what_tells_sdxl():
    assert looks_like_sdxl(["lora_unet_down_blocks_1_attentions_0_transformer_blocks_1_ff_net_2"])
    assert looks_like_sdxl(["lora_te1_text_model_encoder_layers_0_mlp_fc1"])
    assert not looks_like_sdxl(["lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_ff_net_2", "lora_te_x"])


def test_projections():
    assert is_pointwise_projection("lora_unet_up_blocks_1_attentions_0_proj_out")
    assert not is_pointwise_projection("lora_unet_input_blocks_4_1_proj_out")
    assert not is_pointwise_projection("lora_unet_up_blocks_1_attentions_0_transformer_blocks_0_ff_net_0_proj")
