"""Names and architecture of models in the original (single-file) layout.

Maps the original names of U-Net, VAE and CLIP text encoder to those of diffusers and transformers, and
reads from the tensors' shapes what the models' configurations would have said.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "cond_stage_model.transformer."

LAYERS_PER_BLOCK = 2
"""Residual blocks of each U-Net level on the way down; one more on the way up."""

Weights = Mapping[str, torch.Tensor]
NamePair = tuple[str, str]
"""(diffusers, original)"""

_RESNET = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
)
_VAE_ATTENTION = (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out"))


def extract(weights: Weights, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors below a prefix, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in weights.items() if name.startswith(prefix)}


def unet_modules(levels: int) -> Iterator[NamePair]:
    """(diffusers, original) names of the U-Net's modules; all layers below a module keep their names."""
    yield "time_embedding.linear_1", "time_embed.0"
    yield "time_embedding.linear_2", "time_embed.2"
    yield "conv_in", "input_blocks.0.0"
    yield "conv_norm_out", "out.0"
    yield "conv_out", "out.2"
    yield from _resnet("mid_block.resnets.0", "middle_block.0")
    yield "mid_block.attentions.0", "middle_block.1"
    yield from _resnet("mid_block.resnets.1", "middle_block.2")
    down, up = LAYERS_PER_BLOCK, LAYERS_PER_BLOCK + 1
    for level in range(levels):
        for layer in range(down):
            original = f"input_blocks.{1 + level * (down + 1) + layer}"
            yield from _resnet(f"down_blocks.{level}.resnets.{layer}", f"{original}.0")
            yield f"down_blocks.{level}.attentions.{layer}", f"{original}.1"
        yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{(level + 1) * (down + 1)}.0.op"
        for layer in range(up):
            original = f"output_blocks.{level * up + layer}"
            yield from _resnet(f"up_blocks.{level}.resnets.{layer}", f"{original}.0")
            yield f"up_blocks.{level}.attentions.{layer}", f"{original}.1"
        last = f"output_blocks.{level * up + up - 1}"
        yield f"up_blocks.{level}.upsamplers.0.conv", f"{last}.1.conv"
        yield f"up_blocks.{level}.upsamplers.0.conv", f"{last}.2.conv"


def _resnet(diffusers: str, original: str) -> Iterator[NamePair]:
    for ours, theirs in _RESNET:
        yield f"{diffusers}.{ours}", f"{original}.{theirs}"


def vae_modules(levels: int, encoder_layers: int) -> Iterator[NamePair]:
    """(diffusers, original) names of the VAE's modules. The decoder's original levels count backwards."""
    for side, blocks, sampler in (("encoder", "down_blocks", "downsample"), ("decoder", "up_blocks", "upsample")):
        yield f"{side}.conv_in", f"{side}.conv_in"
        yield f"{side}.conv_norm_out", f"{side}.norm_out"
        yield f"{side}.conv_out", f"{side}.conv_out"
        for number in (0, 1):
            yield f"{side}.mid_block.resnets.{number}", f"{side}.mid.block_{number + 1}"
        for ours, theirs in _VAE_ATTENTION:
            yield f"{side}.mid_block.attentions.0.{ours}", f"{side}.mid.attn_1.{theirs}"
        for level in range(levels):
            theirs = f"{side}.down.{level}" if side == "encoder" else f"{side}.up.{levels - 1 - level}"
            for layer in range(encoder_layers + (side == "decoder")):
                for ours_part, theirs_part in (("conv_shortcut", "nin_shortcut"), ("", "")):
                    ours_name = f"{side}.{blocks}.{level}.resnets.{layer}.{ours_part}".rstrip(".")
                    yield ours_name, f"{theirs}.block.{layer}.{theirs_part}".rstrip(".")
            yield f"{side}.{blocks}.{level}.{sampler}rs.0.conv", f"{theirs}.{sampler}.conv"
    yield "quant_conv", "quant_conv"
    yield "post_quant_conv", "post_quant_conv"


def rename(weights: Weights, modules: Iterator[NamePair]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Original names -> diffusers names; also returns the names that belong to no module."""
    to_ours = {theirs: ours for ours, theirs in modules}
    renamed, unknown = {}, []
    for name, tensor in weights.items():
        module = next((name[:end] for end in _ends_of_modules(name) if name[:end] in to_ours), None)
        if module is None:
            unknown.append(name)
        else:
            renamed[to_ours[module] + name[len(module) :]] = tensor
    return renamed, unknown


def _ends_of_modules(name: str) -> list[int]:
    """Where the names of the modules that could contain a tensor end; the innermost first."""
    return [match.start() for match in re.finditer(r"\.", name)][::-1]


def flatten_attention_convolutions(vae: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The original VAE attends with 1x1 convolutions, (c, c, 1, 1); diffusers with linear layers, (c, c)."""
    return {
        name: tensor.flatten(1) if ".attentions." in name and tensor.ndim == 4 else tensor
        for name, tensor in vae.items()
    }


def unet_configuration(unet: Weights, heads: int) -> dict[str, Any]:
    """Arguments of diffusers' UNet2DConditionModel. Takes original names.

    Raises:
        KeyError: a tensor that tells the architecture is missing.
    """
    widths, has_attention = [], []
    while f"input_blocks.{1 + len(widths) * 3}.0.out_layers.3.weight" in unet:
        first = f"input_blocks.{1 + len(widths) * 3}"
        widths.append(unet[f"{first}.0.out_layers.3.weight"].shape[0])
        has_attention.append(f"{first}.1.norm.weight" in unet)
    context = unet["middle_block.1.transformer_blocks.0.attn2.to_k.weight"].shape[1]
    return {
        "in_channels": unet["input_blocks.0.0.weight"].shape[1],
        "out_channels": unet["out.2.weight"].shape[0],
        "block_out_channels": tuple(widths),
        "down_block_types": tuple("CrossAttnDownBlock2D" if has else "DownBlock2D" for has in has_attention),
        "up_block_types": tuple("CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(has_attention)),
        "layers_per_block": LAYERS_PER_BLOCK,
        "cross_attention_dim": context,
        "attention_head_dim": heads,
        "use_linear_projection": unet["middle_block.1.proj_in.weight"].ndim == 2,
        "sample_size": 64,
    }


def vae_configuration(vae: Weights, scaling_factor: float) -> dict[str, Any]:
    """Arguments of diffusers' AutoencoderKL. Takes original names.

    Raises:
        KeyError: a tensor that tells the architecture is missing.
    """
    widths: list[int] = []
    while f"encoder.down.{len(widths)}.block.0.conv1.weight" in vae:
        widths.append(vae[f"encoder.down.{len(widths)}.block.0.conv1.weight"].shape[0])
    layers = 0
    while f"encoder.down.0.block.{layers}.conv1.weight" in vae:
        layers += 1
    return {
        "block_out_channels": tuple(widths),
        "layers_per_block": layers,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "latent_channels": vae["post_quant_conv.weight"].shape[0],
        "scaling_factor": scaling_factor,
        "sample_size": 512,
    }


def clip_configuration(text_encoder: Weights, head_width: int) -> dict[str, Any]:
    """Arguments of transformers' CLIPTextConfig. Takes names without `text_model.`

    Raises:
        KeyError: a tensor that tells the architecture is missing.
    """
    vocabulary, width = text_encoder["embeddings.token_embedding.weight"].shape
    layers = 0
    while f"encoder.layers.{layers}.mlp.fc1.weight" in text_encoder:
        layers += 1
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": text_encoder["encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // head_width),
        "max_position_embeddings": text_encoder["embeddings.position_embedding.weight"].shape[0],
        "hidden_act": "quick_gelu",
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }
