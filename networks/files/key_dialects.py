"""Network files of other programs, brought into the names that we write.

What is understood besides kohya's names: those of diffusers and PEFT, of old diffusers, SDXL files with diffusers'
block names, text encoders with and without `text_model`, kohya's OFT prefix, LyCORIS' own prefix, ComfyUI's generic
`diffusion_model`, and tensors of old LyCORIS releases (`scalar`, `oft_diag`).
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from library.errors import UserError
from networks.files.layer_names import (
    FIRST_TEXT_ENCODER,
    SECOND_TEXT_ENCODER,
    UNET,
    is_pointwise_projection,
    kohya_name,
    looks_like_sdxl,
    part_of,
    prefix_of,
)
from networks.files.old_tensors import modernise
from networks.files.peft_config import alpha_of, read_peft_settings

Weights = Mapping[str, torch.Tensor]

_PARTS = {
    "unet.": UNET,
    "diffusion_model.": UNET,
    "text_encoder.": FIRST_TEXT_ENCODER,
    "text_encoder_2.": SECOND_TEXT_ENCODER,
}
"""Beginnings of names with dots."""

_UNDERSCORED = re.compile(r"(?:lora|oft|lycoris)_(unet_|te1_|te2_|te_)([^.]+)")
_LYCORIS_ONLY = re.compile(r"lycoris_([^.]+)")

MAGNITUDE = "lora_magnitude_vector"

_SUFFIXES = {
    "lora_down.weight": r"lora_A(?:\.\w+)?\.weight|lora(?:_linear_layer|_layer)?\.down\.weight|lora_down\.weight",
    "lora_up.weight": r"lora_B(?:\.\w+)?\.weight|lora(?:_linear_layer|_layer)?\.up\.weight|lora_up\.weight",
    "dora_scale": rf"{MAGNITUDE}(?:\.\w+)*",
}
"""Our suffix -> what others call it."""
_OWN_SUFFIXES = (
    r"lora_mid\.weight|alpha|scalar|dora_scale|hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2)|oft_blocks|oft_diag"
    r"|rescale|[ab][12]\.weight|diff|diff_b|w_norm|b_norm"
)
_DOTTED = re.compile(rf"(?P<path>.+?)\.(?P<suffix>{'|'.join(_SUFFIXES.values())}|{_OWN_SUFFIXES})")

_OLD_ATTENTION = re.compile(r"\.to_(q|k|v|out)_lora\.")
_AS_CONVOLUTION = ("lora_down.weight", "lora_up.weight", "dora_scale", "diff")


@dataclass(frozen=True)
class KeyReport:
    """What became of the names of a file."""

    renamed: int
    """Number of layers that had another name."""
    unknown: tuple[str, ...]
    """Tensors that belong to no layer by any name known here; they are left as they were."""


@dataclass(frozen=True)
class _Place:
    """Where a tensor belongs, as far as its name tells."""

    part: str
    prefix: str | None
    """Of kohya's names, if the name is one of them."""
    path: str
    """Of the layer, below its part."""
    suffix: str

    def layer_name(self, sdxl: bool) -> str:
        return kohya_name(self.prefix or prefix_of(self.part, sdxl), self.path, sdxl)


def to_own_names(
    tensors: Weights, wanted: Collection[str] | None = None, metadata: Mapping[str, str] | None = None
) -> tuple[dict[str, torch.Tensor], KeyReport]:
    """The tensors of a file by the names that we write, each layer with its alpha.

    Args:
        wanted: names of the network's layers: they tell whether it is SDXL. Without them, the file's names do.
        metadata: of the file; in files of diffusers, scales may be there.

    Raises:
        UserError: two tensors would get the same name, or one is of an old kind that cannot be converted.
    """
    places = {key: place for key in tensors if (place := _place_of(key)) is not None}
    sdxl = looks_like_sdxl((place.layer_name(sdxl=False) for place in places.values()) if wanted is None else wanted)
    layers: dict[str, dict[str, torch.Tensor]] = {}
    renamed = set()
    for key, place in places.items():
        name = place.layer_name(sdxl)
        layer = layers.setdefault(name, {})
        if place.suffix in layer:
            raise UserError(f"network file: it holds '{name}.{place.suffix}' by two names; one of them is '{key}'")
        layer[place.suffix] = _in_own_shape(name, place.suffix, tensors[key], is_magnitude_of_peft=MAGNITUDE in key)
        if key != f"{name}.{place.suffix}":
            renamed.add(name)
    alphas = _alphas_of_settings(places.values(), layers, sdxl, read_peft_settings(metadata or {}))
    own = {
        f"{name}.{suffix}": tensor
        for name, layer in layers.items()
        for suffix, tensor in modernise(name, alphas.get(name, {}) | layer).items()
    }
    unknown = {key: tensor for key, tensor in tensors.items() if key not in places}
    return own | unknown, KeyReport(len(renamed), tuple(unknown))


def _alphas_of_settings(
    places: Iterable[_Place], layers: Mapping[str, Weights], sdxl: bool, settings: Mapping[str, Any]
) -> dict[str, dict[str, torch.Tensor]]:
    """For each low-rank layer that PEFT's settings cover."""
    if not settings:
        return {}
    return {
        place.layer_name(sdxl): {
            "alpha": torch.tensor(
                alpha_of(settings, place.part, place.path, len(layers[place.layer_name(sdxl)][place.suffix]))
            )
        }
        for place in places
        if place.suffix == "lora_down.weight" and place.prefix is None
    }


def _place_of(key: str) -> _Place | None:
    """The layer that a tensor belongs to, by any of the names known here."""
    layer, _, suffix = key.partition(".")
    if match := _UNDERSCORED.fullmatch(layer):
        prefix = f"lora_{match[1]}"
        return _Place(part_of(prefix) or UNET, prefix, match[2], _own_suffix(suffix))
    if match := _LYCORIS_ONLY.fullmatch(layer):
        part = FIRST_TEXT_ENCODER if match[1].startswith("text_model_") else UNET
        return _Place(part, None, match[1], _own_suffix(suffix))
    match = _DOTTED.fullmatch(_without_old_attention(key))
    if match is None:
        return None
    path = match["path"].removeprefix("base_model.model.")
    prefix = next((prefix for prefix in _PARTS if path.startswith(prefix)), "")
    part = _PARTS.get(prefix) or (FIRST_TEXT_ENCODER if path.startswith("text_model.") else UNET)
    return _Place(part, None, path.removeprefix(prefix), _own_suffix(match["suffix"]))


def _own_suffix(suffix: str) -> str:
    return next((own for own, pattern in _SUFFIXES.items() if re.fullmatch(pattern, suffix)), suffix)


def _without_old_attention(key: str) -> str:
    """Old diffusers kept the factors of attention in a processor: attn1.processor.to_q_lora.down.weight"""
    key = key.replace(".processor.", ".")
    if ".self_attn." in key:
        return _OLD_ATTENTION.sub(r".\1_proj.lora.", key)
    return re.sub(r"\.to_out\.(?=lora|alpha)", ".to_out.0.", _OLD_ATTENTION.sub(r".to_\1.lora.", key))


def _in_own_shape(name: str, suffix: str, tensor: torch.Tensor, is_magnitude_of_peft: bool) -> torch.Tensor:
    """PEFT's magnitudes, one for each output, are (out,) or (1, out, 1, 1); ours are (out, 1[, 1, 1]). In files of
    kohya's names, the projections of SD 2.x's U-Net are 1x1 convolutions as those of SD 1.x."""
    if is_magnitude_of_peft and tensor.ndim == 4:
        tensor = tensor.transpose(0, 1)
    elif suffix == "dora_scale" and tensor.ndim == 1:
        tensor = tensor[:, None]
    if suffix in _AS_CONVOLUTION and tensor.ndim == 2 and is_pointwise_projection(name):
        return tensor[:, :, None, None]
    return tensor
