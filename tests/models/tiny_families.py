"""Tiny random models of every family, in every form in which users have models."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils.logging import disable_progress_bar

from library.models.clip_tokenizer import CaptionTokenizer
from library.models.family import SD1, SD2, SDXL, VELOCITY, ModelFamily
from library.models.family_forms import SD1_FORM, SD2_FORM, SDXL_FORM, FamilyForm, TextEncoderForm
from library.models.latent_diffusion_model import LatentDiffusionModel
from library.models.model_parts import ModelParts, ModelRequest, TextForm
from library.models.sdxl.adapter import StableDiffusionXL
from library.models.stable_diffusion.adapter import StableDiffusion
from tests.models.tiny import (
    IN_FULL,
    NOWHERE,
    Weights,
    clip_configuration,
    original_unet_weights,
    original_vae_weights,
    scheduler,
    seeded,
    tiny_tokenizer,
    tiny_unet,
    tiny_vae,
)

POOLED_WIDTH = 64


USED_LAYERS = 2
"""of SD 2.x's text encoder, of three in single files"""

TINY_SD2_FORM = replace(SD2_FORM, text_encoders=(replace(SD2_FORM.text_encoders[0], used_layers=USED_LAYERS),))


@dataclass(frozen=True)
class _TinyFamily:
    form: FamilyForm
    adapter: type[LatentDiffusionModel]
    unet: Mapping[str, Any]
    """Arguments of the U-Net that differ from those of SD 1.x."""
    text_encoders: tuple[Mapping[str, Any], ...]
    """For each, what differs in its configuration."""


_FAMILIES = {
    SD1.name: _TinyFamily(SD1_FORM, StableDiffusion, {}, ({},)),
    SD2.name: _TinyFamily(
        TINY_SD2_FORM,
        StableDiffusion,
        {"attention_head_dim": (1, 1, 1, 1), "use_linear_projection": True},
        ({"hidden_act": "gelu"},),
    ),
    SDXL.name: _TinyFamily(
        SDXL_FORM,
        StableDiffusionXL,
        {
            "block_out_channels": (32, 64, 64),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 1, 2),
            "attention_head_dim": (1, 1, 1),
            "use_linear_projection": True,
            "cross_attention_dim": 32 + 64,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 6 * 256 + POOLED_WIDTH,
        },
        (
            {"projection_dim": 32},
            {"hidden_size": 64, "intermediate_size": 128, "hidden_act": "gelu", "projection_dim": POOLED_WIDTH},
        ),
    ),
}


def form_of(family: ModelFamily) -> FamilyForm:
    return _FAMILIES[family.name].form


def tiny_unet_of(family: ModelFamily) -> UNet2DConditionModel:
    return tiny_unet(**_FAMILIES[family.name].unet)


def tiny_vae_of(family: ModelFamily) -> AutoencoderKL:
    vae = tiny_vae()
    vae.register_to_config(scaling_factor=family.latent_scale)
    return vae


def tiny_text_encoders_of(family: ModelFamily, vocabulary: int) -> tuple[CLIPTextModel, ...]:
    tiny = _FAMILIES[family.name]
    encoders = []
    for number, (form, changes) in enumerate(zip(tiny.form.text_encoders, tiny.text_encoders, strict=True)):
        kind = CLIPTextModelWithProjection if form.has_projection else CLIPTextModel
        configuration = clip_configuration(vocabulary, **changes)
        encoders.append(seeded(3 + number, lambda kind=kind, configuration=configuration: kind(configuration)))
    return tuple(encoders)


def tiny_tokenizers_of(family: ModelFamily) -> tuple[CLIPTokenizer, ...]:
    """As a diffusers folder has them."""
    forms = form_of(family).text_encoders
    return tuple(tiny_tokenizer() if form.pads_with_end else tiny_tokenizer(pad_token="!") for form in forms)


def tiny_parts(family: ModelFamily, text: TextForm | None = None) -> ModelParts:
    text = text or TextForm()
    tokenizers = tuple(
        CaptionTokenizer(tokenizer, form.pads_with_end, text.chunks, text.weighted)
        for tokenizer, form in zip(tiny_tokenizers_of(family), form_of(family).text_encoders, strict=True)
    )
    encoders = tiny_text_encoders_of(family, len(tiny_tokenizer()))
    return ModelParts(tiny_unet_of(family), encoders, tokenizers, tiny_vae_of(family))


def tiny_adapter_of(family: ModelFamily, text: TextForm | None = None) -> LatentDiffusionModel:
    text = text or TextForm()
    request = ModelRequest(NOWHERE, family, IN_FULL, text=text)
    return _FAMILIES[family.name].adapter(request, tiny_parts(family, text))


def tiny_pipeline_of(family: ModelFamily) -> DiffusionPipeline:
    """The same weights as a plain diffusers pipeline."""
    encoders, tokenizers = tiny_text_encoders_of(family, len(tiny_tokenizer())), tiny_tokenizers_of(family)
    parts = {
        "unet": tiny_unet_of(family),
        "vae": tiny_vae_of(family),
        "scheduler": scheduler("v_prediction" if family.prediction_type == VELOCITY else "epsilon"),
        "feature_extractor": None,
    }
    for form, encoder, tokenizer in zip(form_of(family).text_encoders, encoders, tokenizers, strict=True):
        parts |= {form.folder: encoder, form.tokenizer_folder: tokenizer}
    if len(encoders) == 2:
        pipeline = StableDiffusionXLPipeline(**parts, add_watermarker=False)
    else:
        pipeline = StableDiffusionPipeline(**parts, safety_checker=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_tiny_folder(family: ModelFamily, folder: Path) -> None:
    """A diffusers folder with everything that a released model has."""
    disable_progress_bar()
    tiny_pipeline_of(family).save_pretrained(folder)


def original_weights_of(family: ModelFamily, vocabulary: int | None = None) -> Weights:
    """The weights in one dictionary, as the original single files have them.

    Args:
        vocabulary: of the text encoders; 49408 for models that are used with the real tokenizer, by default that of
            the tiny one.
    """
    weights = original_unet_weights(tiny_unet_of(family)) | original_vae_weights(tiny_vae_of(family))
    encoders = tiny_text_encoders_of(family, vocabulary or len(tiny_tokenizer()))
    for form, encoder in zip(form_of(family).text_encoders, encoders, strict=True):
        named = (
            open_clip_weights(encoder, unused_layers=int(form.used_layers is not None))
            if form.is_open_clip
            else _clip_weights(encoder)
        )
        weights |= {f"{form.prefix}{name}": value for name, value in named.items()}
    return {name: value.detach().clone() for name, value in weights.items()}


def _open_clip_or_clip_weights(encoder: nn.Module, form: TextEncoderForm) -> Weights:
    if not form.is_open_clip:
        return _clip_weights(encoder)
    return open_clip_weights(encoder, unused_layers=int(form.used_layers is not None))


def _clip_weights(encoder: nn.Module) -> Weights:
    named = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in encoder.state_dict().items()}
    return {**named, "text_model.embeddings.position_ids": torch.arange(77)[None]}


_OPEN_CLIP_NAMES = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_OPEN_CLIP_LAYERS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def open_clip_weights(encoder: nn.Module, unused_layers: int) -> Weights:
    """A text encoder as OpenCLIP has it; what is unused holds ones, so that using it would show."""
    plain = {name.removeprefix("text_model."): value for name, value in encoder.state_dict().items()}
    layers, width = encoder.config.num_hidden_layers, encoder.config.hidden_size
    named = {theirs: plain[ours] for ours, theirs in _OPEN_CLIP_NAMES.items()}
    for number in range(layers):
        named |= _open_clip_layer(plain, f"encoder.layers.{number}.", f"transformer.resblocks.{number}.")
    for number in range(layers, layers + unused_layers):
        last = _open_clip_layer(plain, f"encoder.layers.{layers - 1}.", f"transformer.resblocks.{number}.")
        named |= {name: torch.ones_like(value) for name, value in last.items()}
    projection = plain.get("text_projection.weight", torch.ones(width, width))
    return {**named, "text_projection": projection.T, "logit_scale": torch.tensor(4.6)}


def _open_clip_layer(plain: Weights, prefix: str, open_clip_prefix: str) -> Weights:
    named = {}
    for kind in ("weight", "bias"):
        rows = [plain[f"{prefix}self_attn.{part}_proj.{kind}"] for part in "qkv"]
        named[f"{open_clip_prefix}attn.in_proj_{kind}"] = torch.cat(rows)
        for ours, theirs in _OPEN_CLIP_LAYERS.items():
            named[f"{open_clip_prefix}{theirs}.{kind}"] = plain[f"{prefix}{ours}.{kind}"]
    return named
