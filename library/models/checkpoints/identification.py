"""What kind of model a file holds, judged by the names and shapes of its tensors and by its metadata."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from library.models.family import EPSILON, VELOCITY
from library.models.family_forms import SD1_FORM, SD2_FORM, SDXL_FORM, FamilyForm

Shapes = Mapping[str, tuple[int, ...]]


class ModelKind(Enum):
    """What users call it."""

    SD1 = "an SD 1.x model"
    SD2 = "an SD 2.x model"
    SDXL = "an SDXL model"
    REFINER = "the SDXL refiner"
    INPAINTING = "an inpainting model, whose U-Net takes 9 channels instead of 4"
    INSTRUCTION = "an instruct-pix2pix model, whose U-Net takes 8 channels instead of 4"
    UPSCALER = "an upscaler, whose U-Net takes 7 channels instead of 4"
    DEPTH = "a depth-to-image model, whose U-Net takes 5 channels instead of 4"
    UNCLIP = "an SD unCLIP model, which takes pictures as prompts"
    EDM = "an SDXL model with the noise schedule of EDM, such as Playground v2.5 or CosXL"
    VIDEO = "a Stable Video Diffusion model"
    SD3 = "an SD 3 model"
    FLUX = "a Flux model"
    NETWORK = "a LoRA or similar network, not a base model"
    EMBEDDING = "a textual inversion embedding, not a base model"
    CONTROLNET = "a ControlNet, not a base model"
    UNET = "a U-Net alone"
    VAE = "a VAE alone"
    TEXT_ENCODER = "a text encoder alone"
    UNKNOWN = "no Stable Diffusion model that is known here"


KIND_BY_CHANNELS = {9: ModelKind.INPAINTING, 8: ModelKind.INSTRUCTION, 7: ModelKind.UPSCALER, 5: ModelKind.DEPTH}
"""Channels that the U-Net takes -> kind; base models take 4."""

SD1_TEXT_WIDTH, SD2_TEXT_WIDTH, REFINER_TEXT_WIDTH = 768, 1024, 1280
"""Features that the U-Net takes of each token."""

UNET_PART, VAE_PART, TEXT_ENCODER_PART = "U-Net", "VAE", "text encoder"
SDXL_TEXT_ENCODER_PARTS = ("text encoder 1 (CLIP ViT-L)", "text encoder 2 (OpenCLIP ViT-bigG)")


@dataclass(frozen=True)
class Identity:
    """What a model is. What it does not say is None or False."""

    kind: ModelKind
    missing: tuple[str, ...] = ()
    """Parts that a base model needs and that are not there, in plain words."""
    prediction_type: str | None = None
    """EPSILON or VELOCITY"""
    prediction_evidence: str = ""
    """What says so."""
    zero_terminal_snr: bool = False
    zero_terminal_snr_evidence: str = ""


UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."

_VAE_SIDES = (f"{VAE_PREFIX}encoder.", f"{VAE_PREFIX}decoder.")


def _prefixes(parts: tuple[str, ...], form: FamilyForm) -> dict[str, str]:
    return {part: one.prefix for part, one in zip(parts, form.text_encoders, strict=True)}


_TEXT_ENCODERS = {
    ModelKind.SD1: _prefixes((TEXT_ENCODER_PART,), SD1_FORM),
    ModelKind.SD2: _prefixes((TEXT_ENCODER_PART,), SD2_FORM),
    ModelKind.SDXL: _prefixes(SDXL_TEXT_ENCODER_PARTS, SDXL_FORM),
}
"""Kind -> part -> what the names of its tensors begin with."""

_NETWORK = re.compile(
    r"^(lora|lycoris|oft|boft|loha|lokr|hada|glora)_|\.(lora|hada|lokr|oft|boft)[._]|\.diff(_b)?$", re.IGNORECASE
)
_EMBEDDING = re.compile(r"(emb_params|string_to_param|<[^>]+>)")

_ALONE = (
    (ModelKind.VAE, (VAE_PREFIX, "encoder.down", "encoder.conv_in.", "decoder.up", "decoder.conv_in.")),
    (ModelKind.TEXT_ENCODER, (
        "cond_stage_model.", "conditioner.", "text_model.", "transformer.resblocks.", "encoder.layers.",
        "encoder.block.", "text_encoders.",
    )),
    (ModelKind.UNET, ("down_blocks.", "up_blocks.", "mid_block.", "input_blocks.", "output_blocks.", "middle_block.")),
)  # fmt: skip

_PREDICTION_KEYS = ("modelspec.prediction_type", "modelspec.predict_key")
_PREDICTION_VALUES = {
    "v": VELOCITY, "v_prediction": VELOCITY, "v_pred": VELOCITY, "epsilon": EPSILON, "eps": EPSILON,
}  # fmt: skip
_ZERO_TERMINAL_SNR_KEYS = ("ztsnr", "zero_terminal_snr", "modelspec.zero_terminal_snr", "ss_zero_terminal_snr")


def identify(shapes: Shapes, metadata: Mapping[str, str]) -> Identity:
    """Judges a single file. Averaged weights (model_ema.*) count for nothing.

    Args:
        shapes: tensor name -> shape.
        metadata: of a safetensors file; empty for others.
    """
    kind = _kind(shapes)
    prediction_type, prediction_evidence = _prediction(shapes, metadata)
    snr_evidence = _zero_terminal_snr(shapes, metadata)
    return Identity(
        kind, _missing(shapes, kind), prediction_type, prediction_evidence, bool(snr_evidence), snr_evidence
    )


def _kind(shapes: Shapes) -> ModelKind:
    if any(_NETWORK.search(name) for name in shapes):
        return ModelKind.NETWORK
    if _EMBEDDING.fullmatch(next(iter(shapes), "")) or shapes.keys() == {"clip_l", "clip_g"}:
        return ModelKind.EMBEDDING
    if _has(shapes, "control_model.", "controlnet_", "input_hint_block.", "zero_convs.", "lllite_"):
        return ModelKind.CONTROLNET
    unet = {name.removeprefix(UNET_PREFIX): shape for name, shape in shapes.items() if name.startswith(UNET_PREFIX)}
    if _has(unet or shapes, "joint_blocks."):
        return ModelKind.SD3
    if _has(unet or shapes, "double_blocks."):
        return ModelKind.FLUX
    if unet:
        return _kind_of_unet(unet, shapes)
    has_text_encoder = _has(shapes, "cond_stage_model.", "conditioner.embedders.")
    if has_text_encoder and _has(shapes, *_VAE_SIDES):
        return _kind_by_text_encoder(shapes)
    return next((kind for kind, prefixes in _ALONE if _has(shapes, *prefixes)), ModelKind.UNKNOWN)


def _kind_of_unet(unet: Shapes, shapes: Shapes) -> ModelKind:
    """Widths decide where they are those of released models, else the structure."""
    if any(".time_stack." in name for name in unet):
        return ModelKind.VIDEO
    channels = unet.get("input_blocks.0.0.weight", ())[1:2]
    if channels and channels[0] in KIND_BY_CHANNELS:
        return KIND_BY_CHANNELS[channels[0]]
    widths = {width for name, shape in unet.items() if name.endswith(".attn2.to_k.weight") for width in shape[1:2]}
    if not _has(unet, "label_emb."):
        if SD2_TEXT_WIDTH in widths:
            return ModelKind.SD2
        return ModelKind.SD1 if SD1_TEXT_WIDTH in widths else _kind_by_text_encoder(shapes)
    if SD2_TEXT_WIDTH in widths:
        return ModelKind.UNCLIP
    if REFINER_TEXT_WIDTH in widths or _kind_by_text_encoder(shapes) is ModelKind.REFINER:
        return ModelKind.REFINER
    return ModelKind.EDM if _marker(shapes, "edm_mean", "edm_vpred.sigma_max") else ModelKind.SDXL


def _kind_by_text_encoder(shapes: Shapes) -> ModelKind:
    if _has(shapes, "conditioner.embedders.0.model."):
        return ModelKind.REFINER
    if _has(shapes, "conditioner.embedders."):
        return ModelKind.SDXL
    return ModelKind.SD2 if _has(shapes, "cond_stage_model.model.") else ModelKind.SD1


def _missing(shapes: Shapes, kind: ModelKind) -> tuple[str, ...]:
    if kind not in _TEXT_ENCODERS:
        return ()
    there = {UNET_PART: _has(shapes, UNET_PREFIX)}
    there |= {part: _has(shapes, prefix) for part, prefix in _TEXT_ENCODERS[kind].items()}
    there[VAE_PART] = all(_has(shapes, side) for side in _VAE_SIDES)
    return tuple(part for part, is_there in there.items() if not is_there)


def _prediction(shapes: Shapes, metadata: Mapping[str, str]) -> tuple[str | None, str]:
    """The prediction type and what says so. A marker was put there on purpose; metadata may be a parent's."""
    if marker := _marker(shapes, "v_pred"):
        return VELOCITY, f"its marker '{marker}'"
    for key in _PREDICTION_KEYS:
        prediction_type = _PREDICTION_VALUES.get(metadata.get(key, "").lower())
        if prediction_type is not None:
            return prediction_type, f"its metadata ({key}: {metadata[key]})"
    return None, ""


def _zero_terminal_snr(shapes: Shapes, metadata: Mapping[str, str]) -> str:
    """What says that the model was trained with zero terminal SNR; empty if nothing does."""
    if marker := _marker(shapes, "ztsnr"):
        return f"its marker '{marker}'"
    key = next((key for key in _ZERO_TERMINAL_SNR_KEYS if metadata.get(key, "").lower() in ("true", "1")), None)
    return f"its metadata ({key}: {metadata[key]})" if key is not None else ""


def _marker(shapes: Shapes, *names: str) -> str | None:
    """The first of these that is there: empty tensors that say something by their names, with or without the prefix
    of the U-Net."""
    return next((name for name in names if name in shapes or f"{UNET_PREFIX}{name}" in shapes), None)


def _has(shapes: Shapes, *prefixes: str) -> bool:
    return any(name.startswith(prefixes) for name in shapes)
