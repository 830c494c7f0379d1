"""What a base model consists of, and what is asked for when one is loaded."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from library.models.clip_tokenizer import CaptionTokenizer
from library.models.family import ModelFamily
from library.models.model_source import ModelSource


@dataclass(frozen=True)
class ModelPrecision:
    """How the frozen model is loaded and kept; None = each tensor as the file has it."""

    weights: torch.dtype | None
    vae: torch.dtype | None


@dataclass(frozen=True)
class TextForm:
    """How captions are taken."""

    chunks: int = 1
    """of 75 tokens each"""
    weighted: bool = False
    """Understand weights such as (tag:1.3)."""
    clip_skip: int = 1
    """Which layer from the end is taken; 1 = the last. Ignored where the family fixes the layer."""


@dataclass(frozen=True)
class ModelRequest:
    """Everything that decides how a base model is loaded."""

    source: ModelSource
    family: ModelFamily
    precision: ModelPrecision
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """where the tensors are read to"""
    vae: ModelSource | None = None
    """another VAE than the model's own"""
    text: TextForm = TextForm()
    use_mmap: bool = True
    tokenizer_cache_dir: Path | None = None


@dataclass(frozen=True)
class ModelParts:
    """The loaded libraries' models; text encoders and tokenizers in the family's order."""

    unet: UNet2DConditionModel
    text_encoders: tuple[Any, ...]
    """transformers' CLIPTextModel or CLIPTextModelWithProjection"""
    tokenizers: tuple[CaptionTokenizer, ...]
    vae: AutoencoderKL
