"""Where the families' parts are found in files and folders, and how they are read."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class TextEncoderForm:
    """Where one of a family's text encoders is found and how it is read."""

    folder: str
    """of a diffusers model"""
    tokenizer_folder: str
    prefix: str
    """of its tensors in a single file"""
    is_open_clip: bool
    """whether the tensors in a single file have OpenCLIP's names"""
    activation: str
    """transformers' name"""
    has_projection: bool
    """whether the pooled text is projected"""
    used_layers: int | None
    """layers that the family uses of those in a single file; None = all"""
    pads_with_end: bool
    """Short captions are filled up with the end token; otherwise with token 0."""
    tokenizer_name: str
    """as a sub-folder of --tokenizer_cache_dir"""


@dataclass(frozen=True)
class FamilyForm:
    """What the loaders have to know about a family."""

    text_encoders: tuple[TextEncoderForm, ...]
    attention_heads: int | None
    """of every level of the U-Net; None = as many as heads of the usual width fit"""


_CLIP_L = TextEncoderForm(
    folder="text_encoder",
    tokenizer_folder="tokenizer",
    prefix="cond_stage_model.transformer.",
    is_open_clip=False,
    activation="quick_gelu",
    has_projection=False,
    used_layers=None,
    pads_with_end=True,
    tokenizer_name="openai_clip-vit-large-patch14",
)
_OPEN_CLIP_H = replace(
    _CLIP_L,
    prefix="cond_stage_model.model.",
    is_open_clip=True,
    activation="gelu",
    used_layers=23,  # the family takes the penultimate of 24 layers; some files lack the last one
    pads_with_end=False,
    tokenizer_name="stabilityai_stable-diffusion-2",
)
_OPEN_CLIP_BIG_G = replace(
    _OPEN_CLIP_H,
    folder="text_encoder_2",
    tokenizer_folder="tokenizer_2",
    prefix="conditioner.embedders.1.model.",
    has_projection=True,
    used_layers=None,
    tokenizer_name="laion_CLIP-ViT-bigG-14-laion2B-39B-b160k",
)

SD1_FORM = FamilyForm((_CLIP_L,), attention_heads=8)
SD2_FORM = FamilyForm((_OPEN_CLIP_H,), attention_heads=None)
SDXL_FORM = FamilyForm(
    (replace(_CLIP_L, prefix="conditioner.embedders.0.transformer."), _OPEN_CLIP_BIG_G), attention_heads=None
)
