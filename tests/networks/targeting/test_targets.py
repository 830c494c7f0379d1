"""Patterns of the user, key names, and what is found at all."""

import pytest
from torch import nn

from library.errors import UserError
from networks.arguments import parse_arguments
from networks.network.chosen_layers import selection_of
from networks.targeting.targets import Target, find_all, find_targets, text_encoder_prefixes
from tests.models.full_size import full_size_views


def find(family="sd15", **arguments):
    views = full_size_views(family)
    selection = selection_of(parse_arguments("networks.lora", arguments))
    return find_targets(views.text_encoders_as_kohya(), views.unet, selection)


def paths(**arguments) -> list[str]:
    return [target.path for target in find(**arguments)]


def test_a_target_knows_its_place():
    first = find().unet[0]
    assert first.name == "lora_unet_down_blocks_0_attentions_0_proj_in"
    assert first.path == "down_blocks.0.attentions.0.proj_in"
    assert (first.part, first.block) == ("unet", 1)
    assert first.layer is full_size_views("sd15").unet.get_submodule(first.path)
    last = find("sdxl").text_encoder[-1]
    assert last.name.startswith("lora_te2_text_model_encoder_layers_31_")
    assert (last.part, last.block) == ("text_encoder", None)


def test_prefixes_of_text_encoders():
    assert text_encoder_prefixes(1) == ["lora_te"]
    assert text_encoder_prefixes(2) == ["lora_te1", "lora_te2"]


def test_a_model_without_text_encoder():
    unet = full_size_views("sd15").unet
    found = find_targets(None, unet, selection_of(parse_arguments("networks.lora", {})))
    assert (len(found.text_encoder), len(found.unet)) == (0, 192)
    assert find_all(None, unet).text_encoder == []


def test_everything():
    """98 layers of kohya's list with convolutions are joined by the outer layers and the norms."""
    found = find_all(full_size_views("sd15").text_encoders_as_kohya(), full_size_views("sd15").unet)
    norms = [target for target in found if isinstance(target.layer, nn.GroupNorm | nn.LayerNorm)]
    of_unet = [target for target in norms if target.part == "unet"]
    assert len(found.unet) - len(of_unet) == 282
    assert len(of_unet) == 16 * 4 + 22 * 2 + 1
    assert len(found.text_encoder) - (len(norms) - len(of_unet)) == 72
    assert len(norms) - len(of_unet) == 12 * 2 + 1


@pytest.mark.parametrize(("kernel", "is_spatial"), [((1, 1), False), ((3, 3), True), ((1, 3), True)])
def test_spatial_convolutions(kernel, is_spatial):
    assert Target("a", nn.Conv2d(2, 2, kernel), "a", "unet").is_spatial == is_spatial
    assert not Target("a", nn.Linear(2, 2), "a", "unet").is_spatial


class DoubledLinear(nn.Linear):
    """Computes something else than its weight says."""


def test_subclasses_of_layers_are_left_alone():
    block = type("Transformer2DModel", (nn.Module,), {})()
    block.plain, block.doubled = nn.Linear(2, 2), DoubledLinear(2, 2)
    unet = nn.Module()
    unet.block = block
    found = find_targets(None, unet, selection_of(parse_arguments("networks.lora", {})))
    assert [target.path for target in found] == ["block.plain"]


def test_nested_classes_give_each_layer_once():
    unet, inner, outer = nn.Module(), type("CrossAttention", (nn.Module,), {})(), type("Inner", (nn.Module,), {})()
    inner.to_q, outer.attention, outer.after = nn.Linear(2, 2), inner, nn.Linear(2, 2)
    unet.outer = outer
    selection = selection_of(parse_arguments("networks.lora", {"preset": "attn-only"}))
    both = type(selection.unet)(classes=frozenset({"Inner", "CrossAttention"}))
    found = find_targets(None, unet, type(selection)(unet=both, text_encoder=both))
    assert [target.path for target in found] == ["outer.attention.to_q", "outer.after"]


def test_include_alone_is_all_there_is():
    chosen = paths(include_patterns=r"attn1\.to_[qk],lora_te_.*_0_mlp")
    assert len(chosen) == 16 * 2 + 2
    assert all("attn1.to_" in path or "layers.0.mlp" in path for path in chosen)


def test_exclude_leaves_out():
    left = paths(exclude_patterns=r"mid_block,attn2,^text_model")
    assert len(left) == 15 * 8
    assert not any("mid_block" in path or "attn2" in path or path.startswith("text_model") for path in left)


def test_include_with_exclude_makes_exceptions():
    """As in kohya's tool, where only both together do anything."""
    left = paths(exclude_patterns="attn", include_patterns="attn2.to_q")
    assert sum("attn2.to_q" in path for path in left) == 16
    assert not any("attn1" in path for path in left)
    assert sum("ff" in path for path in left) == 32


def test_lists_as_python_writes_them():
    assert len(paths(include_patterns=r"['attn[1,2]\.to_q']")) == 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"include_patterns": "nowhere"}, "include_patterns: 'nowhere' matches no layer of the network; its layers"),
        ({"exclude_patterns": "attn1,attn3"}, "exclude_patterns: 'attn3' matches no layer of the network; its layers"),
        (
            {"include_patterns": "resnets"},
            "only layers that preset and conv_dim do not choose, such as down_blocks",
        ),
        ({"exclude_patterns": "lora_"}, "the network would be empty"),
        ({"exclude_patterns": "attn2", "include_patterns": "attn"}, "exclude_patterns=attn2: leaves out nothing"),
    ],
)
def test_patterns_without_effect_are_errors(arguments, message):
    with pytest.raises(UserError) as error:
        find(**arguments)
    assert message in str(error.value)


def test_all_patterns_without_effect_are_told_at_once():
    with pytest.raises(UserError) as error:
        find(include_patterns="no,where", exclude_patterns="ever")
    assert len(error.value.problems) == 3
    assert "down_blocks" in error.value.problems[1]


def test_a_preset_that_takes_nothing(tmp_path):
    file = tmp_path / "nothing.toml"
    file.write_text("unet_target_module = []\nunet_target_name = []\ntext_encoder_target_module = []")
    with pytest.raises(UserError, match="the network would be empty"):
        find(preset=str(file))
