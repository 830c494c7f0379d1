"""The estimate of a network file's size against networks that were really made."""

import pytest
import torch
from safetensors.torch import load_file

from library.models.model_source import ModelSource, SourceKind
from library.options.groups import NetworkOptions, OptimizerOptions, PrecisionOptions, SavingOptions
from library.training.planning.network_size import lora_width, network_bytes, residual_width, spatial_width
from library.unet_names import unet_modules
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


@pytest.mark.parametrize(
    ("family", "build"), [("sd15", empty_sd15_unet), ("sd21", empty_sd21_unet), ("sdxl", empty_sdxl_unet)]
)
def test_width_of_the_convolutions_of_a_full_size_model(family, build):
    """Rank 4 for 3x3 convolutions, 8 for the other layers of residual blocks."""
    plain, with_convolutions = table(f"lora_keys_{family}")["variants"]
    assert (with_convolutions["network_args"]["conv_dim"], with_convolutions["network_dim"]) == ("4", RANK)
    known = {key for key, _ in plain["tensors"]}
    added = sum(torch.Size(shape).numel() for key, shape in with_convolutions["tensors"] if shape and key not in known)
    shapes = shapes_of(build())
    assert residual_width(shapes) * RANK + spatial_width(shapes) * 4 == added


def test_width_by_the_names_of_single_files():
    """The same layers have other names in checkpoints of one file."""
    unet = empty_sd15_unet()
    pairs = dict(unet_modules([True, True, True, False]))
    renamed = []
    for name, shape in shapes_of(unet):
        ours = next((module for module in pairs if name.startswith(f"{module}.")), None)
        renamed.append((f"model.diffusion_model.{name.replace(ours, pairs[ours]) if ours else name}", shape))
    assert any(name.endswith("output_blocks.2.1.conv.weight") for name, _ in renamed)
    assert spatial_width(renamed) == spatial_width(shapes_of(unet)) > 0
    assert residual_width(renamed) == residual_width(shapes_of(unet)) > 0


def test_fused_layers_of_a_text_encoder_count_three_times():
    fused = [("model.resblocks.0.attn.in_proj_weight", (24, 8)), ("model.resblocks.0.attn.in_proj_bias", (24,))]
    apart = [(f"layers.0.self_attn.{name}_proj.weight", (8, 8)) for name in "qkv"]
    assert lora_width(fused, unet=False, text_encoders=True) == lora_width(apart, unet=False, text_encoders=True) == 48


def test_the_vae_is_not_adapted():
    assert lora_width([("first_stage_model.encoder.mid.attn_1.proj_out.weight", (8, 8, 1, 1))], True, True) == 0


@pytest.mark.parametrize(
    ("network_args", "rates"), [((), None), (("conv_dim=3", "conv_alpha=1", "dropout=0.1"), None), ((), (0.0,))]
)
def test_the_weights_of_a_real_run_are_that_large(tiny_model, train_data_dir, tmp_path, network_args, rates):
    arguments = least_arguments(tiny_model, train_data_dir, tmp_path / "out")
    words = [word for pair in arguments.items() for word in pair] + ["--network_dim", "16", "--save_precision", "fp16"]
    words += ["--network_args", *network_args] if network_args else []
    words += ["--text_encoder_lr", *map(str, rates)] if rates else []
    assert train(*words, "--no_metadata") == 0
    weights = load_file(tmp_path / "out" / "tiny.safetensors")
    size = sum(tensor.nbytes for name, tensor in weights.items() if not name.endswith(".alpha"))
    estimate = network_bytes(
        ModelSource(SourceKind.FOLDER if tiny_model.is_dir() else SourceKind.FILE, str(tiny_model)),
        NetworkOptions(network_module="networks.lora", network_dim=16, network_args=network_args or None),
        OptimizerOptions(text_encoder_lr=rates),
        PrecisionOptions(),
        SavingOptions(save_precision="fp16"),
    )
    assert estimate == size


@pytest.mark.parametrize(
    ("module", "argument"),
    [("lycoris.kohya", "algo=lora"), ("networks.loha", "verbose=True"), ("networks.lora", "preset=full")]
    + [("networks.lora", argument) for argument in ("dora_wd=True", "block_dims=1", "init=pissa", "conv_dim=x")],
)
def test_other_networks_are_not_estimated(module, argument):
    unknown = NetworkOptions(network_module=module, network_args=(argument,))
    source = ModelSource(SourceKind.FILE, "x")
    assert network_bytes(source, unknown, OptimizerOptions(), PrecisionOptions(), SavingOptions()) is None
