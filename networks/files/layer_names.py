"""Layers' names in network files: kohya's, which we write, and those of diffusers.

Kohya's name is  lora_unet_  (or lora_te_, for SDXL lora_te1_ and lora_te2_)  and the layer's path with underscores. For
SD 1.x and 2.x the path is diffusers', for SDXL that of the original code.
"""

import re
from collections.abc import Iterable

from library.unet_names import unet_modules

UNET, FIRST_TEXT_ENCODER, SECOND_TEXT_ENCODER = "unet", "text_encoder", "text_encoder_2"
"""Parts of a model, as diffusers names them."""

_PREFIXES = {"lora_unet_": UNET, "lora_te_": FIRST_TEXT_ENCODER, "lora_te1_": FIRST_TEXT_ENCODER,
             "lora_te2_": SECOND_TEXT_ENCODER}  # fmt: skip

_SDXL_ATTENTION = (False, True, True)
"""For each level of SDXL's U-Net on the way down, whether it has attention."""

_TO_ORIGINAL = {ours.replace(".", "_"): theirs.replace(".", "_") for ours, theirs in unet_modules(_SDXL_ATTENTION)}
_TO_DIFFUSERS = {theirs: ours for ours, theirs in _TO_ORIGINAL.items()}

_ORIGINAL_ONLY = re.compile(r"lora_unet_(input_blocks|middle_block|output_blocks|time_embed_|label_emb_|out_\d)")
_POINTWISE_PROJECTION = re.compile(r"lora_unet_(?:down_blocks|mid_block|up_blocks)_.*_proj_(?:in|out)")
_SECOND_TRANSFORMER_BLOCK = re.compile(r"_transformer_blocks_[1-9]")

_WORDS = (
    "down_blocks", "mid_block", "up_blocks", "transformer_blocks", "to_q", "to_k", "to_v", "to_out", "proj_in",
    "proj_out", "time_emb_proj", "conv_shortcut", "conv_in", "conv_out", "conv_norm_out", "time_embedding",
    "add_embedding", "linear_1", "linear_2", "text_model", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj",
    "layer_norm1", "layer_norm2", "final_layer_norm", "text_projection", "token_embedding", "position_embedding",
)  # fmt: skip
"""Parts of paths that contain underscores themselves."""


def _beginning_with(names: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"^({'|'.join(sorted(names, key=len, reverse=True))})(?=_|$)")


_WORD = re.compile(rf"(?:{'|'.join(sorted(_WORDS, key=len, reverse=True))})(?=_|$)|[^_]+")
_ORIGINAL_BEGINNING = _beginning_with(_TO_DIFFUSERS)
_DIFFUSERS_BEGINNING = _beginning_with(_TO_ORIGINAL)


def looks_like_sdxl(names: Iterable[str]) -> bool:
    """Whether kohya's names are of layers of an SDXL model; both ways to name its blocks count."""
    return any(
        name.startswith(("lora_te1_", "lora_te2_"))
        or _ORIGINAL_ONLY.match(name)
        or _SECOND_TRANSFORMER_BLOCK.search(name)
        for name in names
    )


def part_of(name: str) -> str | None:
    """The part of the model that a layer with one of kohya's names belongs to, or None."""
    return next((part for prefix, part in _PREFIXES.items() if name.startswith(prefix)), None)


def is_pointwise_projection(name: str) -> bool:
    """Whether it is one of the projections around SD 1.x's and 2.x's transformers: by our names, 1x1 convolutions."""
    return _POINTWISE_PROJECTION.fullmatch(name) is not None


def prefix_of(part: str, sdxl: bool) -> str:
    """Of kohya's names of the layers in a part."""
    if part == FIRST_TEXT_ENCODER:
        return "lora_te1_" if sdxl else "lora_te_"
    return "lora_unet_" if part == UNET else "lora_te2_"


def kohya_name(prefix: str, path: str, sdxl: bool) -> str:
    """
    Args:
        prefix: see prefix_of.
        path: the layer's, below its part, with dots or underscores; in SDXL's U-Net as diffusers or as the original
            code has it, in a text encoder with or without `text_model`.
    """
    path = path.replace(".", "_")
    if prefix == "lora_unet_" and sdxl:
        path = _DIFFUSERS_BEGINNING.sub(lambda match: _TO_ORIGINAL[match[1]], path)
    elif prefix != "lora_unet_" and path.startswith(("encoder_", "embeddings_", "final_layer_norm")):
        path = f"text_model_{path}"
    return f"{prefix}{path}"


def diffusers_path(name: str) -> str:
    """lora_te2_text_model_encoder_layers_0_mlp_fc1 -> text_encoder_2.text_model.encoder.layers.0.mlp.fc1

    Raises:
        ValueError: the name does not begin as kohya's do.
    """
    prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
    if prefix is None:
        raise ValueError(name)
    path = name.removeprefix(prefix)
    if prefix == "lora_unet_" and _ORIGINAL_ONLY.match(name):
        path = _ORIGINAL_BEGINNING.sub(lambda match: _TO_DIFFUSERS[match[1]], path)
    return ".".join([_PREFIXES[prefix], *_WORD.findall(path)])
