"""Ranks, alphas and rates of single layers; block lists as in the golden tables are tested with these."""

import pytest
from torch import nn

from library.errors import UserError
from networks.arguments import parse_arguments
from networks.arguments.block_lists import block_rate_factors
from networks.network.chosen_layers import selection_of
from networks.network.layer_sizes import pattern_rate, plan_sizes, useless_ranks
from networks.targeting.targets import LayerSize, Target, find_targets
from tests.models.full_size import full_size_views

RANK, ALPHA = 8, 4.0
SPATIAL = "lora_unet_up_blocks_0_resnets_0_conv1"
LINEAR = "lora_unet_up_blocks_0_resnets_0_time_emb_proj"
ATTENTION = "lora_unet_down_blocks_0_attentions_0_proj_in"
TEXT = "lora_te_text_model_encoder_layers_0_mlp_fc1"


def plan(module="networks.lora", rank=RANK, alpha: float | None = ALPHA, **arguments) -> dict[str, LayerSize]:
    views = full_size_views("sd15")
    parsed = parse_arguments(module, arguments)
    targets = find_targets(views.text_encoders_as_kohya(), views.unet, selection_of(parsed))
    return plan_sizes(targets, rank, alpha, parsed)


def per_block(first, others) -> str:
    """24 others after the first 13, which have one number each."""
    return ",".join(map(str, [first] * 13 + [others] * 12))


@pytest.mark.parametrize(
    ("arguments", "spatial", "linear"),
    [
        ({"conv_dim": "2"}, (2, 1.0), (RANK, ALPHA)),
        ({"conv_dim": "2", "conv_alpha": "0"}, (2, 2.0), (RANK, ALPHA)),
        ({"conv_dim": "2", "conv_alpha": "1.5"}, (2, 1.5), (RANK, ALPHA)),
        ({"preset": "full"}, (RANK, ALPHA), (RANK, ALPHA)),
        ({"preset": "full", "conv_dim": "2"}, (2, ALPHA), (RANK, ALPHA)),
        ({"preset": "full", "conv_alpha": "3"}, (RANK, 3.0), (RANK, ALPHA)),
        ({"preset": "full", "conv_dim": "0"}, None, (RANK, ALPHA)),
        ({"conv_block_dims": per_block(0, 3)}, (3, 1.0), (RANK, ALPHA)),
        ({"conv_dim": "2", "conv_block_alphas": per_block(7, 5)}, (2, 5.0), (RANK, ALPHA)),
        ({"conv_dim": "2", "block_alphas": per_block(7, 5)}, (2, 1.0), (RANK, 5.0)),
        ({"conv_dim": "2", "block_dims": per_block(7, 5)}, (2, 1.0), (5, ALPHA)),
        ({"conv_dim": "2", "network_reg_dims": "conv1=6,time_emb=3"}, (6, ALPHA), (3, ALPHA)),
        ({"conv_dim": "2", "up_lr_weight": "zeros"}, None, None),
        ({"conv_dim": "2", "up_lr_weight": "zeros+.1"}, (2, 1.0), (RANK, ALPHA)),
        ({"conv_dim": "2", "up_lr_weight": "zeros+.1", "block_lr_zero_threshold": "0.1"}, None, None),
    ],
)
def test_layers_of_residual_blocks(arguments, spatial, linear):
    sizes = plan(**arguments)
    assert sizes.get(SPATIAL) == (None if spatial is None else LayerSize(*spatial))
    assert sizes.get(LINEAR) == (None if linear is None else LayerSize(*linear))
    assert sizes[TEXT] == LayerSize(RANK, ALPHA)


@pytest.mark.parametrize("arguments", [{}, {"conv_dim": "0"}, {"conv_dim": "None"}])
def test_no_convolutions(arguments):
    sizes = plan(**arguments)
    assert len(sizes) == 264
    assert SPATIAL not in sizes
    assert LINEAR not in sizes


@pytest.mark.parametrize("alpha", [None, 0.0])
def test_alpha_is_the_rank_if_there_is_none(alpha):
    sizes = plan(alpha=alpha, conv_dim="2", conv_alpha="0", block_dims=per_block(5, 6))
    assert sizes[ATTENTION] == LayerSize(5, 5.0)
    assert sizes[LINEAR] == LayerSize(6, 6.0)
    assert sizes[TEXT] == LayerSize(RANK, 8.0)


def test_a_constraint_of_zero_stays_zero():
    assert plan("networks.oft", alpha=0.0)["lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"] == (
        LayerSize(RANK, 0.0)
    )


def test_convolutions_of_oft_have_the_rank_of_all_others():
    assert plan("networks.oft", alpha=0.5, enable_conv="True")[SPATIAL] == LayerSize(RANK, 0.5)
    assert plan("networks.oft", alpha=0.5, enable_conv="True", conv_alpha="0.2")[SPATIAL] == LayerSize(RANK, 0.2)


def test_the_first_expression_that_matches_counts():
    sizes = plan(network_reg_dims=r"attn1\.to_q=2,attn1=3,fc1=5,mid_block=0")
    prefix = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_"
    assert [sizes[f"{prefix}{letter}"].rank for letter in "qkv"] == [2, 3, 3]
    assert sizes[TEXT] == LayerSize(5, ALPHA)
    assert sizes[ATTENTION] == LayerSize(RANK, ALPHA)
    remaining = [name for name in sizes if "mid_block" in name]
    assert len(remaining) == 4
    assert all("attn1" in name for name in remaining)


def test_ranks_that_no_change_can_have():
    wide, narrow = (Target(name, nn.Linear(40, width), name, "unet") for name, width in (("wide", 60), ("narrow", 8)))
    picture = Target("picture", nn.Conv2d(4, 50, 3), "picture", "unet")
    assert useless_ranks([(wide, LayerSize(40, 1)), (narrow, LayerSize(40, 1)), (picture, LayerSize(36, 1))]) == []
    first, second = useless_ranks([(wide, LayerSize(41, 1)), (narrow, LayerSize(41, 1)), (picture, LayerSize(37, 1))])
    assert first.startswith("the rank 41 is larger than the smaller side of every layer that has it (40 at most)")
    assert second.startswith("the rank 37 is larger than the smaller side of every layer that has it (36 at most)")


def test_everything_wrong_is_told_at_once():
    with pytest.raises(UserError) as error:
        plan(block_dims="1,2", block_alphas="3", network_reg_dims="nowhere=2", network_reg_lrs="never=1e-3")
    assert [problem.split(":")[0].removeprefix("--network_args ") for problem in error.value.problems] == [
        "block_dims", "block_alphas", "network_reg_dims", "network_reg_lrs",
    ]  # fmt: skip


def test_an_empty_network():
    with pytest.raises(UserError, match="every layer has rank 0 or weight 0"):
        plan(network_reg_dims="lora_=0")


@pytest.mark.parametrize(
    ("arguments", "count", "factors"),
    [
        ({}, 25, None),
        ({"block_lr_zero_threshold": "1"}, 25, None),
        ({"mid_lr_weight": "0.5"}, 25, [1.0] * 12 + [0.5] + [1.0] * 12),
        ({"mid_lr_weight": "0.5"}, 23, [1.0] * 10 + [0.5, 1.0, 1.0] + [1.0] * 10),
        ({"down_lr_weight": "0.1,0.2"}, 25, [0.1, 0.2] + [1.0] * 23),
        ({"up_lr_weight": "0.1,0.2,0.3", "block_lr_zero_threshold": ".2"}, 23, [1.0] * 13 + [0, 0, 0.3] + [1.0] * 7),
    ],
)
def test_rate_factors(arguments, count, factors):
    assert block_rate_factors(parse_arguments("networks.lora", arguments), count) == factors


def test_rate_lists_that_are_too_long():
    arguments = parse_arguments("networks.lora", {"mid_lr_weight": "1,1", "up_lr_weight": ",".join("1" * 10)})
    with pytest.raises(UserError, match=r"mid_lr_weight: has 2 numbers, but this part of the U-Net has 1 block;"):
        block_rate_factors(arguments, 25)
    with pytest.raises(UserError, match=r"up_lr_weight: has 10 numbers, but this part of the U-Net has 9 blocks;"):
        block_rate_factors(arguments, 23)


def test_rates_of_expressions():
    views = full_size_views("sd15")
    arguments = parse_arguments("networks.lora", {"network_reg_lrs": r"attn1\.to_q=1e-3,attn1=0,lora_te_=2e-5"})
    rates = {
        target.name: pattern_rate(arguments, target)
        for target in find_targets(views.text_encoders_as_kohya(), views.unet, selection_of(arguments))
    }
    assert [list(rates.values()).count(rate) for rate in (1e-3, 0.0, 2e-5, None)] == [16, 48, 72, 264 - 136]
