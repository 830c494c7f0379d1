"""Numbers of a U-Net's blocks."""

import pytest

from networks.targeting.block_curves import CURVES, BlockCurve
from networks.targeting.blocks import LAYOUTS, SD_BLOCKS, SDXL_BLOCKS, block_count, block_of
from networks.targeting.targets import find_all
from tests.models.full_size import full_size_views

BLOCK_OF_PATH = {
    "conv_in": 0,
    "time_embedding.linear_1": 0,
    "down_blocks.0.resnets.0.conv1": 1,
    "down_blocks.0.attentions.1.proj_in": 2,
    "down_blocks.0.downsamplers.0.conv": 3,
    "down_blocks.2.downsamplers.0.conv": 9,
    "down_blocks.3.resnets.1.time_emb_proj": 11,
    "mid_block.resnets.1.conv2": 12,
    "mid_block.attentions.0.proj_out": 12,
    "up_blocks.0.resnets.0.conv1": 13,
    "up_blocks.0.upsamplers.0.conv": 15,
    "up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_q": 24,
    "conv_norm_out": 24,
    "conv_out": 24,
    "time_embed.0": 0,
    "label_emb.0.2": 0,
    "input_blocks.0.0": 1,
    "input_blocks.8.1.proj_in": 9,
    "middle_block.0.in_layers.2": 10,
    "middle_block.2.out_layers.3": 12,
    "output_blocks.0.1.proj_in": 13,
    "output_blocks.8.0.skip_connection": 21,
    "out.2": 22,
}


@pytest.mark.parametrize(("path", "block"), BLOCK_OF_PATH.items())
def test_block_of_a_path(path, block):
    assert block_of(path) == block


@pytest.mark.parametrize(("family", "layout"), [("sd15", SD_BLOCKS), ("sd21", SD_BLOCKS), ("sdxl", SDXL_BLOCKS)])
def test_every_layer_of_a_model_has_one(family, layout):
    views = full_size_views(family)
    assert block_count(views.unet) == layout.count
    found = find_all(None, views.unet)
    assert found.block_count == layout.count
    assert {target.block for target in found.unet} == set(range(layout.count))


def test_counts():
    assert {count: layout.count for count, layout in LAYOUTS.items()} == {25: 25, 23: 23}


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("linear", [0.1, 0.6, 1.1]),
        ("reverse_linear", [1.1, 0.6, 0.1]),
        ("zeros", [0.1, 0.1, 0.1]),
        ("sine", [0.1, 0.1 + 0.5**0.5, 1.1]),
        ("cosine", [1.1, 0.1 + 0.5**0.5, 0.1]),
    ],
)
def test_curves(name, factors):
    assert BlockCurve(name, base=0.1).factors(3) == pytest.approx(factors)


def test_curves_of_one_block_and_their_zeros():
    assert len(CURVES) == 5
    assert BlockCurve("sine").factors(1) == [0.0]
    assert BlockCurve("sine").factors(12)[0] == BlockCurve("cosine").factors(12)[-1] == 0.0
