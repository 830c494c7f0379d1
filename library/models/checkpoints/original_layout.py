"""Names of models in the original (single-file) layout: those of U-Net and VAE as diffusers has them."""

import re
from collections.abc import Iterator, Mapping, Sequence

import torch

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


def unet_modules(attention: Sequence[bool]) -> Iterator[NamePair]:
    """(diffusers, original) names of the U-Net's modules; all layers below a module keep their names.

    Args:
        attention: for each level on the way down, whether it has attention.
    """
    yield "time_embedding.linear_1", "time_embed.0"
    yield "time_embedding.linear_2", "time_embed.2"
    yield "add_embedding.linear_1", "label_emb.0.0"
    yield "add_embedding.linear_2", "label_emb.0.2"
    yield "conv_in", "input_blocks.0.0"
    for level in range(len(attention)):
        yield from _level_down(level)
    yield from _resnet("mid_block.resnets.0", "middle_block.0")
    yield "mid_block.attentions.0", "middle_block.1"
    yield from _resnet("mid_block.resnets.1", "middle_block.2")
    for level, has_attention in enumerate(reversed(attention)):
        yield from _level_up(level, has_attention)
    yield "conv_norm_out", "out.0"
    yield "conv_out", "out.2"


def _level_down(level: int) -> Iterator[NamePair]:
    first = 1 + level * (LAYERS_PER_BLOCK + 1)
    for layer in range(LAYERS_PER_BLOCK):
        original = f"input_blocks.{first + layer}"
        yield from _resnet(f"down_blocks.{level}.resnets.{layer}", f"{original}.0")
        yield f"down_blocks.{level}.attentions.{layer}", f"{original}.1"
    yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{first + LAYERS_PER_BLOCK}.0.op"


def _level_up(level: int, has_attention: bool) -> Iterator[NamePair]:
    layers = LAYERS_PER_BLOCK + 1
    for layer in range(layers):
        original = f"output_blocks.{level * layers + layer}"
        yield from _resnet(f"up_blocks.{level}.resnets.{layer}", f"{original}.0")
        yield f"up_blocks.{level}.attentions.{layer}", f"{original}.1"
    last = f"output_blocks.{level * layers + layers - 1}"
    yield f"up_blocks.{level}.upsamplers.0.conv", f"{last}.{2 if has_attention else 1}.conv"


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
