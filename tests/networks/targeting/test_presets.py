"""Which layers presets and preset files choose on full-size models."""

import json
from pathlib import Path

import pytest

from library.errors import UserError
from networks.arguments import parse_arguments
from networks.arguments.kinds import OFTArguments
from networks.network.chosen_layers import selection_of
from networks.targeting.presets import PRESETS, find_preset
from networks.targeting.targets import find_targets
from tests.models.full_size import full_size_views

MODELS = Path(__file__).parents[2] / "models"
LISTS = {family: json.loads((MODELS / f"module_lists_{family}.json").read_text()) for family in ("sd15", "sdxl")}

COUNTS = {
    "sd15": {
        "default": 264, "full": 354, "full-lin": 302, "attn-mlp": 264, "attn-only": 176, "unet-only": 282,
        "unet-transformer-only": 192, "unet-attn-only": 128, "unet-convblock-only": 88, "ia3": 116,
    },
    "sdxl": {
        "default": 986, "full": 1052, "full-lin": 1014, "attn-mlp": 986, "attn-only": 736, "unet-only": 788,
        "unet-transformer-only": 722, "unet-attn-only": 560, "unet-convblock-only": 66, "ia3": 482,
    },
}  # fmt: skip
"""Layers with each preset; those of LyCORIS as it finds them itself, but for ia3, whose names it does not find."""


def find(family, module="networks.lora", **arguments):
    views = full_size_views(family)
    selection = selection_of(parse_arguments(module, arguments))
    return find_targets(views.text_encoders_as_kohya(), views.unet, selection)


def names(family, module="networks.lora", **arguments) -> set[str]:
    found = [target.name for target in find(family, module, **arguments)]
    assert len(set(found)) == len(found)
    return set(found)


@pytest.mark.parametrize("family", COUNTS)
@pytest.mark.parametrize("preset", PRESETS)
def test_number_of_layers(family, preset):
    assert len(names(family, preset=preset)) == COUNTS[family][preset]


def test_every_preset_is_counted():
    assert all(counts.keys() == PRESETS.keys() for counts in COUNTS.values())


@pytest.mark.parametrize(
    ("family", "preset", "listed"),
    [
        ("sd15", "full", ["full"]),
        ("sd15", "attn-mlp", ["lora"]),
        ("sd15", "attn-only", ["attention"]),
        ("sd15", "unet-convblock-only", ["convolution_preset"]),
        ("sdxl", "full", ["full", "text_encoders"]),
        ("sdxl", "unet-only", ["full"]),
        ("sdxl", "attn-mlp", ["lora", "text_encoders"]),
        ("sdxl", "attn-only", ["attention", "text_attention"]),
        ("sdxl", "unet-transformer-only", ["lora"]),
        ("sdxl", "unet-convblock-only", ["convolution_preset"]),
    ],
)
def test_layers_are_those_of_the_lists(family, preset, listed):
    assert names(family, preset=preset) == {name for part in listed for name in LISTS[family][part]}


@pytest.mark.parametrize("family", COUNTS)
def test_full_lin_is_full_without_large_convolutions(family):
    without = {target.name for target in find(family, preset="full") if not target.is_spatial}
    assert names(family, preset="full-lin") == without


def test_ia3_chooses_keys_values_and_the_end_of_feed_forward_blocks():
    found = find("sd15", "networks.ia3")
    assert {tuple(target.path.split("."))[-1] for target in found.unet} == {"to_k", "to_v", "2"}
    assert {tuple(target.path.split("."))[-1] for target in found.text_encoder} == {"k_proj", "v_proj", "fc2"}
    assert sum(target.path.endswith(".ff.net.2") for target in found.unet) == 16
    assert sum(target.path.endswith(".mlp.fc2") for target in found.text_encoder) == 12


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({}, 128),
        ({"enable_all_linear": "True"}, 192),
        ({"enable_conv": "True"}, 128 + 86),
        ({"enable_all_linear": "True", "conv_dim": "2"}, 192 + 86),
        ({"preset": "attn-mlp"}, 264),
    ],
)
def test_oft_chooses_as_in_kohyas_tool_unless_a_preset_is_given(arguments, count):
    assert OFTArguments().preset == "default"
    assert len(names("sd15", "networks.oft", **arguments)) == count


def test_norms_join_what_is_chosen():
    """Three in each transformer block and one before it; two in each residual block."""
    assert len(names("sd15", train_norm="True") - names("sd15")) == 16 * 4
    with_convolutions = names("sd15", train_norm="True", conv_dim="1") - names("sd15", conv_dim="1")
    assert len(with_convolutions) == 16 * 4 + 22 * 2
    assert "lora_unet_mid_block_resnets_0_norm1" in with_convolutions


def test_unknown_presets():
    with pytest.raises(UserError, match=r"preset=ful: there is no such preset\. Did you mean full\?"):
        find_preset("ful")
    with pytest.raises(UserError, match=r"preset=gone.toml: the file cannot be read"):
        find_preset("gone.toml")


def write(folder: Path, text: str) -> str:
    file = folder / "preset.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_what_a_preset_file_leaves_out_is_as_in_full(tmp_path):
    assert names("sd15", preset=write(tmp_path, "")) == names("sd15", preset="full")


def test_preset_file(tmp_path):
    file = write(
        tmp_path,
        """
        enable_conv = false
        unet_target_module = ["FeedForward", "Transformer2DModel"]
        unet_target_name = ["conv_in", "time_embedding.linear_1"]
        text_encoder_target_module = []
        text_encoder_target_name = ["text_model.encoder.layers.0.*q_proj", "mlp.fc2"]
        exclude_name = ["up_blocks.*", "attn2.to_k"]
        """,
    )
    found = names("sd15", preset=file)
    unet = {target.name for target in find("sd15").unet}
    expected = {name for name in unet if "up_blocks" not in name and not name.endswith("attn2_to_k")}
    expected |= {"lora_unet_time_embedding_linear_1", "lora_te_text_model_encoder_layers_0_self_attn_q_proj"}
    expected |= {f"lora_te_text_model_encoder_layers_{number}_mlp_fc2" for number in range(12)}
    assert found == expected


def test_preset_file_with_file_name_patterns(tmp_path):
    file = write(
        tmp_path,
        'use_fnmatch = true\nunet_target_module = []\nunet_target_name = ["mid_block*to_?"]\nexclude_name = []',
    )
    found = {name for name in names("sd15", preset=file) if name.startswith("lora_unet")}
    inner = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn"
    assert found == {f"{inner}{attention}_to_{letter}" for attention in (1, 2) for letter in "qkv"}


def test_what_a_preset_file_names_in_vain_is_told(tmp_path, caplog):
    file = write(
        tmp_path, 'unet_target_module = ["Transformer2DModel", "DoubleStreamBlock"]\nexclude_name = ["nothing"]'
    )
    assert len(names("sdxl", preset=file)) == 986
    (message,) = [record.getMessage() for record in caplog.records]
    assert "unet_target_module 'DoubleStreamBlock'" in message
    assert "unet_target_name 'conv_in'" in message
    assert "exclude_name 'nothing'" in message
    assert "'Transformer2DModel'" not in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("enable_conv = 1", "enable_conv must be true or false"),
        ('unet_target_module = "Transformer2DModel"', "unet_target_module must be a list of texts"),
        ('unet_target_name = ["("]', "unet_target_name: '(' is no regular expression"),
        ("unet_target_modules = []", "Did you mean unet_target_module?"),
        ('[module_algo_map.CrossAttention]\nalgo = "lokr"', "module_algo_map: one network has layers of one kind"),
        ("enable_conv", "the file cannot be read"),
    ],
)
def test_wrong_preset_files(tmp_path, text, message):
    file = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        find_preset(file)
    assert message in str(error.value)
    assert file in str(error.value)
