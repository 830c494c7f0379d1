"""Files of other programs get the names that we write."""

import json
import math

import pytest
import torch

from library.errors import UserError
from networks.files.key_dialects import to_own_names

RANK, IN, OUT = 4, 8, 6
DOWN, UP = torch.randn(RANK, IN), torch.randn(OUT, RANK)

SD1_Q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
SD1_OUT = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"
SD1_FF = "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj"
SDXL_Q = "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q"
SDXL_CONV = "lora_unet_output_blocks_2_2_conv"
TE = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
TE_OUT = "lora_te_text_model_encoder_layers_0_self_attn_out_proj"
TE_MLP = "lora_te_text_model_encoder_layers_0_mlp_fc1"
TE1 = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
TE2 = "lora_te2_text_model_encoder_layers_0_mlp_fc1"

ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
SDXL_ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.1.attn1"
TEXT = "text_model.encoder.layers.0"

CASES = {
    "own names": (f"{SD1_Q}.lora_down.weight", f"{SD1_Q}.lora_up.weight", SD1_Q),
    "peft": (f"unet.{ATTENTION}.to_q.lora_A.weight", f"unet.{ATTENTION}.to_q.lora_B.weight", SD1_Q),
    "peft, to_out": (f"unet.{ATTENTION}.to_out.0.lora_A.weight", f"unet.{ATTENTION}.to_out.0.lora_B.weight", SD1_OUT),
    "peft, adapter named": (
        f"unet.{ATTENTION}.to_q.lora_A.default.weight", f"unet.{ATTENTION}.to_q.lora_B.default.weight", SD1_Q,
    ),
    "peft, model wrapped": (
        f"base_model.model.{ATTENTION}.to_q.lora_A.weight", f"base_model.model.{ATTENTION}.to_q.lora_B.weight", SD1_Q,
    ),
    "peft, model and part": (
        f"base_model.model.unet.{ATTENTION}.to_q.lora_A.weight",
        f"base_model.model.unet.{ATTENTION}.to_q.lora_B.weight",
        SD1_Q,
    ),
    "peft, text encoder wrapped": (
        f"base_model.model.{TEXT}.self_attn.q_proj.lora_A.weight",
        f"base_model.model.{TEXT}.self_attn.q_proj.lora_B.weight",
        TE,
    ),
    "peft factors by kohya's names": (f"{SD1_Q}.lora_A.weight", f"{SD1_Q}.lora_B.weight", SD1_Q),
    "old diffusers": (
        f"unet.{ATTENTION}.processor.to_q_lora.down.weight", f"unet.{ATTENTION}.processor.to_q_lora.up.weight", SD1_Q,
    ),
    "old diffusers, to_out": (
        f"unet.{ATTENTION}.processor.to_out_lora.down.weight",
        f"unet.{ATTENTION}.processor.to_out_lora.up.weight",
        SD1_OUT,
    ),
    "oldest diffusers, without unet": (
        f"{ATTENTION}.processor.to_q_lora.down.weight", f"{ATTENTION}.processor.to_q_lora.up.weight", SD1_Q,
    ),
    "old diffusers, feed-forward": (
        "unet.mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj.lora.down.weight",
        "unet.mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj.lora.up.weight",
        SD1_FF,
    ),
    "old diffusers, text attention": (
        f"text_encoder.{TEXT}.self_attn.to_q_lora.down.weight",
        f"text_encoder.{TEXT}.self_attn.to_q_lora.up.weight",
        TE,
    ),
    "old diffusers, text output": (
        f"text_encoder.{TEXT}.self_attn.to_out_lora.down.weight",
        f"text_encoder.{TEXT}.self_attn.to_out_lora.up.weight",
        TE_OUT,
    ),
    "old diffusers, text feed-forward": (
        f"text_encoder.{TEXT}.mlp.fc1.lora_linear_layer.down.weight",
        f"text_encoder.{TEXT}.mlp.fc1.lora_linear_layer.up.weight",
        TE_MLP,
    ),
    "text encoder": (
        f"text_encoder.{TEXT}.mlp.fc1.lora_A.weight", f"text_encoder.{TEXT}.mlp.fc1.lora_B.weight", TE_MLP,
    ),
    "text encoder without text_model": (
        "text_encoder.encoder.layers.0.mlp.fc1.lora_A.weight", "text_encoder.encoder.layers.0.mlp.fc1.lora_B.weight",
        TE_MLP,
    ),
    "kohya's text encoder without text_model": (
        "lora_te_encoder_layers_0_mlp_fc1.lora_down.weight", "lora_te_encoder_layers_0_mlp_fc1.lora_up.weight", TE_MLP,
    ),
    "second text encoder": (
        f"text_encoder_2.{TEXT}.mlp.fc1.lora_A.weight", f"text_encoder_2.{TEXT}.mlp.fc1.lora_B.weight", TE2,
    ),
    "peft, sdxl": (f"unet.{SDXL_ATTENTION}.to_q.lora_A.weight", f"unet.{SDXL_ATTENTION}.to_q.lora_B.weight", SDXL_Q),
    "kohya, sdxl with diffusers' blocks": (
        f"lora_unet_{SDXL_ATTENTION.replace('.', '_')}_to_q.lora_down.weight",
        f"lora_unet_{SDXL_ATTENTION.replace('.', '_')}_to_q.lora_up.weight",
        SDXL_Q,
    ),
    "comfyui": (
        "diffusion_model.input_blocks.4.1.transformer_blocks.1.attn1.to_q.lora_down.weight",
        "diffusion_model.input_blocks.4.1.transformer_blocks.1.attn1.to_q.lora_up.weight",
        SDXL_Q,
    ),
    "lycoris": (
        f"lycoris_{ATTENTION.replace('.', '_')}_to_q.lora_down.weight",
        f"lycoris_{ATTENTION.replace('.', '_')}_to_q.lora_up.weight",
        SD1_Q,
    ),
    "lycoris with the part": (
        f"lycoris_unet_{ATTENTION.replace('.', '_')}_to_q.lora_down.weight",
        f"lycoris_unet_{ATTENTION.replace('.', '_')}_to_q.lora_up.weight",
        SD1_Q,
    ),
    "lycoris, text encoder": (
        "lycoris_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
        "lycoris_text_model_encoder_layers_0_mlp_fc1.lora_up.weight",
        TE_MLP,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("down", "up", "name"), CASES.values(), ids=CASES)
def test_every_dialect(down, up, name):
    tensors, report = to_own_names({down: DOWN, up: UP})
    assert list(tensors) == [f"{name}.lora_down.weight", f"{name}.lora_up.weight", f"{name}.alpha"]
    assert torch.equal(tensors[f"{name}.lora_down.weight"], DOWN)
    assert torch.equal(tensors[f"{name}.lora_up.weight"], UP)
    assert tensors[f"{name}.alpha"].item() == RANK
    assert report.unknown == ()
    assert report.renamed == (down != f"{name}.lora_down.weight")


def test_number_of_dialects():
    assert len(CASES) == 25


def test_own_files_stay_as_they_are():
    own = {f"{TE2}.alpha": torch.tensor(2.0), f"{TE2}.lora_down.weight": DOWN, f"{TE2}.lora_up.weight": UP}
    tensors, report = to_own_names(own)
    assert tensors.keys() == own.keys()
    assert all(tensors[key] is tensor for key, tensor in own.items())
    assert report.renamed == 0


def test_the_network_tells_the_family():
    """A file of the first transformer blocks alone could belong to any family."""
    file = {"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight": DOWN,
            "text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight": DOWN}  # fmt: skip
    sd1, _ = to_own_names(file, ["lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"])
    assert {name.partition(".")[0] for name in sd1} == {
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
        TE_MLP,
    }
    sdxl, _ = to_own_names(file, [TE1])
    assert {name.partition(".")[0] for name in sdxl} == {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
        TE1,
    }


def test_an_sdxl_file_stays_one_for_a_network_of_sd1():
    tensors, _ = to_own_names({f"{TE1}.diff": UP, f"{TE2}.diff": DOWN}, [TE_MLP])
    assert tensors.keys() == {f"{TE1}.diff", f"{TE2}.diff"}


def test_convolutions_of_sdxl():
    down, up = torch.randn(RANK, IN, 3, 3), torch.randn(OUT, RANK, 1, 1)
    file = {"unet.up_blocks.0.upsamplers.0.conv.lora_A.weight": down,
            "unet.up_blocks.0.upsamplers.0.conv.lora_B.weight": up}  # fmt: skip
    tensors, _ = to_own_names(file, [SDXL_CONV])
    assert torch.equal(tensors[f"{SDXL_CONV}.lora_down.weight"], down)
    assert torch.equal(tensors[f"{SDXL_CONV}.lora_up.weight"], up)


def test_magnitudes_of_peft():
    linear, convolution = torch.rand(OUT), torch.rand(1, OUT, 1, 1)
    tensors, _ = to_own_names(
        {
            f"unet.{ATTENTION}.to_q.lora_magnitude_vector": linear,
            f"unet.{ATTENTION}.to_k.lora_magnitude_vector.default.weight": linear,
            "unet.conv_in.lora_magnitude_vector": convolution,
        }
    )
    assert torch.equal(tensors[f"{SD1_Q}.dora_scale"], linear[:, None])
    assert torch.equal(tensors[f"{SD1_Q[:-1]}k.dora_scale"], linear[:, None])
    assert torch.equal(tensors["lora_unet_conv_in.dora_scale"], convolution.view(OUT, 1, 1, 1))


def test_magnitudes_per_input_keep_their_shape():
    scale = torch.rand(1, IN, 1, 1)
    tensors, _ = to_own_names({"lora_unet_conv_in.dora_scale": scale})
    assert torch.equal(tensors["lora_unet_conv_in.dora_scale"], scale)


def test_projections_of_sd2_become_convolutions():
    """They are linear in diffusers, and stay so for SDXL."""
    file = {"unet.down_blocks.1.attentions.0.proj_in.lora_A.weight": DOWN,
            "unet.down_blocks.1.attentions.0.proj_in.lora_B.weight": UP}  # fmt: skip
    sd2, _ = to_own_names(file, [SD1_Q])
    assert sd2["lora_unet_down_blocks_1_attentions_0_proj_in.lora_down.weight"].shape == (RANK, IN, 1, 1)
    assert sd2["lora_unet_down_blocks_1_attentions_0_proj_in.lora_up.weight"].shape == (OUT, RANK, 1, 1)
    sdxl, _ = to_own_names(file, [SDXL_Q])
    assert sdxl["lora_unet_input_blocks_4_1_proj_in.lora_down.weight"].shape == (RANK, IN)


def test_kohyas_oft_prefix():
    tensors, _ = to_own_names({f"oft_unet_{SD1_Q[10:]}.oft_blocks": torch.zeros(2, 3, 3)})
    assert tensors.keys() == {f"{SD1_Q}.oft_blocks", f"{SD1_Q}.alpha"}
    assert tensors[f"{SD1_Q}.alpha"].item() == 0  # no constraint


def test_rotations_of_old_lycoris():
    skew = torch.randn(2, 3, 3, dtype=torch.float64)
    skew = skew - skew.mT
    rotations = torch.linalg.solve(torch.eye(3) - skew, torch.eye(3) + skew)
    tensors, _ = to_own_names({f"{SD1_Q}.oft_diag": rotations, f"{SD1_Q}.alpha": torch.tensor(4.0)})
    blocks = tensors[f"{SD1_Q}.oft_blocks"]
    torch.testing.assert_close(blocks - blocks.mT, skew)
    assert tensors[f"{SD1_Q}.alpha"].item() == 0


@pytest.mark.parametrize("rotations", [torch.full((1, 2, 2), 0.3), torch.diag(torch.tensor([-1.0, -1.0]))[None]])
def test_what_is_no_rotation_of_old_lycoris(rotations):
    with pytest.raises(UserError, match=r"lora_unet_x\.oft_diag"):
        to_own_names({"lora_unet_x.oft_diag": rotations})


@pytest.mark.parametrize(
    ("factor", "others"),
    [
        ("lora_up.weight", {"lora_down.weight": DOWN}),
        ("hada_w1_a", {"hada_w1_b": DOWN, "hada_w2_a": UP, "hada_w2_b": DOWN}),
        ("lokr_w1", {"lokr_w2": DOWN}),
        ("lokr_w1_a", {"lokr_w1_b": DOWN, "lokr_w2": DOWN}),
    ],
)
def test_scalar_of_old_lycoris(factor, others):
    layer = {factor: UP, **others, "scalar": torch.tensor(0.5)}
    tensors, _ = to_own_names({f"{SD1_Q}.{suffix}": tensor for suffix, tensor in layer.items()})
    assert torch.equal(tensors[f"{SD1_Q}.{factor}"], 0.5 * UP)
    assert f"{SD1_Q}.scalar" not in tensors
    assert all(torch.equal(tensors[f"{SD1_Q}.{suffix}"], tensor) for suffix, tensor in others.items())


def test_scalar_without_meaning():
    with pytest.raises(UserError, match="scalar"):
        to_own_names({f"{SD1_Q}.scalar": torch.tensor(0.5), f"{SD1_Q}.oft_blocks": torch.zeros(1, 2, 2)})


@pytest.mark.parametrize(
    ("layer", "alpha"),
    [
        ({"hada_w1_a": UP, "hada_w1_b": DOWN, "hada_w2_a": UP, "hada_w2_b": DOWN}, RANK),
        ({"lokr_w1": UP, "lokr_w2_a": UP, "lokr_w2_b": DOWN}, RANK),
        ({"lokr_w1_a": UP, "lokr_w1_b": DOWN[:2], "lokr_w2_a": UP, "lokr_w2_b": DOWN}, RANK),
        ({"lokr_w1": UP, "lokr_w2": UP}, 1),
        ({"a1.weight": DOWN.T, "a2.weight": DOWN, "b1.weight": UP, "b2.weight": DOWN}, RANK),
        ({"diff": UP}, None),
        ({"weight": UP[0]}, None),
    ],
)
def test_missing_alpha_means_scale_one(layer, alpha):
    tensors, _ = to_own_names({f"{SD1_Q}.{suffix}": tensor for suffix, tensor in layer.items()})
    if alpha is None:
        assert f"{SD1_Q}.alpha" not in tensors
    else:
        assert tensors[f"{SD1_Q}.alpha"].item() == alpha


def test_alphas_of_peft_settings():
    paths = (f"unet.{ATTENTION}.to_q", f"unet.{ATTENTION}.to_k", f"text_encoder.{TEXT}.mlp.fc1")
    file = {f"{path}.lora_A.weight": DOWN for path in paths} | {f"{path}.lora_B.weight": UP for path in paths}
    settings = {
        "unet.r": RANK,
        "unet.lora_alpha": 2,
        "unet.alpha_pattern": {"attn1.to_k": 1},
        "text_encoder.lora_alpha": 3,
        "text_encoder.use_rslora": True,
    }
    tensors, _ = to_own_names(file, metadata={"lora_adapter_metadata": json.dumps(settings)})
    assert tensors[f"{SD1_Q}.alpha"].item() == 2
    assert tensors[f"{SD1_Q[:-1]}k.alpha"].item() == 1
    assert tensors[f"{TE_MLP}.alpha"].item() == pytest.approx(3 * math.sqrt(RANK))


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_damaged_settings_of_peft(text):
    tensors, _ = to_own_names({f"unet.{ATTENTION}.to_q.lora_A.weight": DOWN}, metadata={"lora_adapter_metadata": text})
    assert tensors[f"{SD1_Q}.alpha"].item() == RANK


def test_settings_of_peft_do_not_touch_kohyas_alphas():
    own = {f"{SD1_Q}.lora_down.weight": DOWN, f"{SD1_Q}.alpha": torch.tensor(1.0)}
    tensors, _ = to_own_names(own, metadata={"lora_adapter_metadata": '{"unet.lora_alpha": 16}'})
    assert tensors[f"{SD1_Q}.alpha"].item() == 1


def test_other_tensors_are_left_and_named():
    file = {"bundle_emb.cat.string_to_param.*": UP, "emb_params": DOWN, f"{SD1_Q}.lora_down.weight": DOWN}
    tensors, report = to_own_names(file)
    assert report.unknown == ("bundle_emb.cat.string_to_param.*", "emb_params")
    assert tensors["emb_params"] is DOWN


def test_one_tensor_by_two_names():
    file = {f"{SD1_Q}.lora_down.weight": DOWN, f"unet.{ATTENTION}.to_q.lora_A.weight": DOWN}
    with pytest.raises(UserError, match=r"attn1_to_q\.lora_down\.weight' by two names"):
        to_own_names(file)


def test_tensors_of_impossible_sizes():
    with pytest.raises(UserError, match=r"'lora_unet_a\.lora_up.weight' holds no numbers"):
        to_own_names({"lora_unet_a.lora_up.weight": torch.zeros(4, 0)})
    with pytest.raises(UserError, match=r"'lora_unet_a\.alpha' holds 2 numbers instead of one"):
        to_own_names({"lora_unet_a.alpha": torch.zeros(2)})
    own, _ = to_own_names({"lora_unet_a.alpha": torch.tensor([2.0])})
    assert own["lora_unet_a.alpha"].shape == ()
