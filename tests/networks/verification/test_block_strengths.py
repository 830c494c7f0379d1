"""How strongly each block of a model is changed."""

import math

import pytest

from networks.verification.block_strengths import ELSEWHERE, LayerNorms, block_of_name, strengths_by_block


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("lora_unet_down_blocks_1_attentions_0_proj_in", "down_blocks_1"),
        ("lora_unet_mid_block_resnets_0_conv1", "mid_block"),
        ("lora_unet_up_blocks_3_upsamplers_0_conv", "up_blocks_3"),
        ("lora_unet_input_blocks_10_0_in_layers_2", "input_blocks_10"),
        ("lora_unet_middle_block_1_proj_in", "middle_block"),
        ("lora_unet_output_blocks_2_1_transformer_blocks_0_attn1_to_q", "output_blocks_2"),
        ("lora_te_text_model_encoder_layers_11_mlp_fc1", "text encoder"),
        ("lora_te1_text_model_encoder_layers_0_self_attn_q_proj", "text encoder 1"),
        ("lora_te2_text_model_encoder_layers_31_mlp_fc2", "text encoder 2"),
        ("lora_unet_conv_in", ELSEWHERE),
        ("lora_unet_time_embedding_linear_1", ELSEWHERE),
        ("lora_te_text_model_final_layer_norm", ELSEWHERE),
    ],
)
def test_blocks_by_name(name, block):
    assert block_of_name(name) == block


def test_strengths():
    first = LayerNorms("lora_unet_mid_block_resnets_0_conv1", 3.0, 6.0)
    second = LayerNorms("lora_unet_mid_block_resnets_1_conv1", 4.0, 8.0)
    of_text = LayerNorms("lora_te_text_model_encoder_layers_0_mlp_fc1", 1.0, 100.0)
    in_text = LayerNorms("lora_te_text_model_encoder_layers_1_mlp_fc1", 0.0, 0.0)
    strengths = strengths_by_block([first, of_text, second])
    assert [(each.block, each.layers, each.relative) for each in strengths] == [
        ("mid_block", 2, pytest.approx(5 / 10)),
        ("text encoder", 1, pytest.approx(0.01)),
    ]
    assert strengths[0].strongest == first
    assert strengths_by_block([]) == []
    assert math.isinf(in_text.relative)
    assert math.isinf(strengths_by_block([in_text])[0].relative)
