"""Names of models in the original (single-file) layout: those of the VAE as diffusers has them (the U-Net's are in
library/unet_names.py), and renaming by such pairs."""

import re
from collections.abc import Iterator, Mapping

import torch

from library.unet_names import NamePair

Weights = Mapping[str, torch.Tensor]

_VAE_ATTENTION = (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out"))


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
