"""The estimate of a network file's size against networks that were really made."""

import pytest
import torch
from safetensors.torch import load_file

from library.models.model_source import ModelSource, SourceKind
from library.options.groups import NetworkOptions, PrecisionOptions, SavingOptions
from library.training.planning.network_size import lora_width, network_bytes
from tests.golden.tables import table
from tests.models.full_size import (
    empty_sd15_text_encoder,
    empty_sd15_unet,
    empty_sd21_text_encoder,
    empty_sd21_unet,
    empty_sdxl_second_text_encoder,
    empty_sdxl_unet,
)
from tests.training.command import least_arguments, train

RANK = 8
"""Of the networks in the tables."""


def width_of(tensors) -> int:
    """Numbers for each rank in a network file, without the alphas."""
    return sum(torch.Size(shape).numel() for key, shape in tensors if shape) // RANK


def shapes_of(*modules: torch.nn.Module):
    return [(name, tuple(tensor.shape)) for module in modules for name, tensor in module.state_dict().items()]


@pytest.mark.parametrize(
    ("family", "modules"),
    [
        ("sd15", (empty_sd15_unet, empty_sd15_text_encoder)),
        ("sd21", (empty_sd21_unet, empty_sd21_text_encoder)),
        ("sdxl", (empty_sdxl_unet, empty_sd15_text_encoder, empty_sdxl_second_text_encoder)),
    ],
)
def test_width_of_a_full_size_model(family, modules):
    plain = next(variant for variant in table(f"lora_keys_{family}")["variants"] if variant["name"] == "plain")
    in_unet = [entry for entry in plain["tensors"] if entry[0].startswith("lora_unet")]
    in_text_encoders = [entry for entry in plain["tensors"] if entry[0].startswith("lora_te")]
    shapes = shapes_of(*(build() for build in modules))
    assert lora_width(shapes, unet=True, text_encoders=False) == width_of(in_unet)
    assert lora_width(shapes, unet=False, text_encoders=True) == width_of(in_text_encoders)
    assert lora_width(shapes, unet=True, text_encoders=True) == width_of(plain["tensors"])


def test_fused_layers_of_a_text_encoder_count_three_times():
    fused = [("model.resblocks.0.attn.in_proj_weight", (24, 8)), ("model.resblocks.0.attn.in_proj_bias", (24,))]
    apart = [(f"layers.0.self_attn.{name}_proj.weight", (8, 8)) for name in "qkv"]
    assert lora_width(fused, unet=False, text_encoders=True) == lora_width(apart, unet=False, text_encoders=True) == 48


def test_the_vae_is_not_adapted():
    assert lora_width([("first_stage_model.encoder.mid.attn_1.proj_out.weight", (8, 8, 1, 1))], True, True) == 0


def test_the_weights_of_a_real_run_are_that_large(tiny_model, train_data_dir, tmp_path):
    arguments = least_arguments(tiny_model, train_data_dir, tmp_path / "out")
    words = [word for pair in arguments.items() for word in pair] + ["--network_dim", "16", "--save_precision", "fp16"]
    assert train(*words, "--no_metadata") == 0
    weights = load_file(tmp_path / "out" / "tiny.safetensors")
    size = sum(tensor.nbytes for name, tensor in weights.items() if not name.endswith(".alpha"))
    estimate = network_bytes(
        ModelSource(SourceKind.FOLDER if tiny_model.is_dir() else SourceKind.FILE, str(tiny_model)),
        NetworkOptions(network_module="networks.lora", network_dim=16),
        PrecisionOptions(),
        SavingOptions(save_precision="fp16"),
    )
    assert estimate == size


def test_other_networks_are_not_estimated():
    unknown = NetworkOptions(network_module="lycoris.kohya")
    assert network_bytes(ModelSource(SourceKind.FILE, "x"), unknown, PrecisionOptions(), SavingOptions()) is None
