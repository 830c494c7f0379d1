"""Random models of full size, written as users have them: one file in the original layout, in float16.

The architectures are public: Rombach et al. 2022 (arXiv 2112.10752) for SD 1.5, its successor with OpenCLIP ViT-H for
SD 2.1, Podell et al. 2023 (arXiv 2307.01952) for SDXL. A model is never in memory as a whole: its names and shapes
come from models without weights, and each tensor is drawn when it is written.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin
from torch import nn
from transformers import CLIPTextModel

from library.atomic_files import atomic_path
from library.models.checkpoints.identification import UNET_PREFIX, VAE_PREFIX
from library.models.checkpoints.original_layout import vae_modules
from library.models.family import SD1, SD2, SDXL, ModelFamily, predicting_velocity
from library.models.family_forms import SD1_FORM, SD2_FORM, SDXL_FORM, FamilyForm, TextEncoderForm
from library.models.stable_diffusion.projections import project_by_convolution
from library.unet_names import NamePair, unet_modules
from tests.models.full_size import (
    empty_sd15_text_encoder,
    empty_sd15_unet,
    empty_sd21_text_encoder,
    empty_sd21_unet,
    empty_sdxl_second_text_encoder,
    empty_sdxl_unet,
)

Shapes = dict[str, tuple[int, ...]]
"""Tensor name -> shape."""


@dataclass(frozen=True)
class FullSizeModel:
    title: str
    family: ModelFamily
    form: FamilyForm
    options: tuple[str, ...]
    """that its training script needs to know the family"""
    empty_unet: Callable[[], UNet2DConditionModel]
    empty_text_encoders: tuple[Callable[[], CLIPTextModel], ...]
    lora_loader: type[StableDiffusionLoraLoaderMixin] | type[StableDiffusionXLLoraLoaderMixin]
    """what loads LoRA files into the family in diffusers"""
    unet_for_lora: Callable[[], UNet2DConditionModel]
    """the U-Net with layers of the shapes that LoRA files have"""


def _empty_sd21_unet_for_lora() -> UNet2DConditionModel:
    """LoRA files for SD 2.x are made for convolutions where diffusers' models have linear layers."""
    unet = empty_sd21_unet()
    project_by_convolution(unet)
    return unet


FULL_SIZE = {
    "sd15": FullSizeModel(
        title="SD 1.5",
        family=SD1,
        form=SD1_FORM,
        options=(),
        empty_unet=empty_sd15_unet,
        empty_text_encoders=(empty_sd15_text_encoder,),
        lora_loader=StableDiffusionLoraLoaderMixin,
        unet_for_lora=empty_sd15_unet,
    ),
    "sd21": FullSizeModel(
        title="SD 2.1 (v)",
        family=predicting_velocity(SD2),
        form=SD2_FORM,
        options=("--v2", "--v_parameterization"),
        empty_unet=empty_sd21_unet,
        empty_text_encoders=(empty_sd21_text_encoder,),
        lora_loader=StableDiffusionLoraLoaderMixin,
        unet_for_lora=_empty_sd21_unet_for_lora,
    ),
    "sdxl": FullSizeModel(
        title="SDXL",
        family=SDXL,
        form=SDXL_FORM,
        options=(),
        empty_unet=empty_sdxl_unet,
        empty_text_encoders=(empty_sd15_text_encoder, empty_sdxl_second_text_encoder),
        lora_loader=StableDiffusionXLLoraLoaderMixin,
        unet_for_lora=empty_sdxl_unet,
    ),
}

_VAE_WIDTHS = (128, 256, 512, 512)
_VAE_LAYERS = 2

_OPEN_CLIP_NAMES = (
    (r"^embeddings\.token_embedding\.", "token_embedding."),
    (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^final_layer_norm\.", "ln_final."),
    (r"^text_projection\.weight$", "text_projection"),
    (r"^encoder\.layers\.", "transformer.resblocks."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.self_attn\.q_proj\.", ".attn.in_proj_"),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)
"""transformers -> OpenCLIP. Not derived from the table that the loader has, which this is to prove right."""
_JOINED_WITH_QUERIES = (".k_proj.", ".v_proj.")

_STANDARD_DEVIATION = 0.02
"""Of the weights: activations stay near 1 through all layers, and finite in half precision."""
_FLOAT16_BYTES = 2


def write_model(path: Path, model: FullSizeModel, seed: int = 0) -> None:
    """
    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    _write_safetensors(path, original_shapes(model), torch.Generator().manual_seed(seed))


def original_shapes(model: FullSizeModel) -> Shapes:
    """Of all tensors of the model's file."""
    unet = model.empty_unet()
    attention = [bool(getattr(block, "attentions", None)) for block in unet.down_blocks]
    shapes = _renamed(unet, unet_modules(attention), UNET_PREFIX)
    shapes |= _vae_shapes()
    for build, form in zip(model.empty_text_encoders, model.form.text_encoders, strict=True):
        shapes |= _text_encoder_shapes(build(), form)
    return shapes


def _shapes_of(module: nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _renamed(module: nn.Module, modules: Iterable[NamePair], prefix: str) -> Shapes:
    """diffusers' names -> original names."""
    to_original = dict(modules)
    shapes = {}
    for name, shape in _shapes_of(module).items():
        parent = name.rpartition(".")[0]
        while parent not in to_original:
            parent = parent.rpartition(".")[0]
        shapes[prefix + to_original[parent] + name[len(parent) :]] = shape
    return shapes


def _vae_shapes() -> Shapes:
    """The original VAE attends with 1x1 convolutions."""
    with init_empty_weights():
        vae = AutoencoderKL(
            block_out_channels=_VAE_WIDTHS,
            layers_per_block=_VAE_LAYERS,
            down_block_types=("DownEncoderBlock2D",) * len(_VAE_WIDTHS),
            up_block_types=("UpDecoderBlock2D",) * len(_VAE_WIDTHS),
            latent_channels=4,
        )
    shapes = _renamed(vae, vae_modules(len(_VAE_WIDTHS), _VAE_LAYERS), VAE_PREFIX)
    return {name: (*shape, 1, 1) if ".attn_1." in name and len(shape) == 2 else shape for name, shape in shapes.items()}


def _text_encoder_shapes(encoder: CLIPTextModel, form: TextEncoderForm) -> Shapes:
    with init_empty_weights():
        encoder.config.num_hidden_layers += form.used_layers is not None  # files hold one more than are used
        shapes = _shapes_of(type(encoder)(encoder.config))
    plain = {name.removeprefix("text_model."): shape for name, shape in shapes.items()}
    if not form.is_open_clip:
        return {f"{form.prefix}text_model.{name}": shape for name, shape in plain.items()}
    return {
        form.prefix + _open_clip_name(name): (3 * shape[0], *shape[1:]) if ".q_proj." in name else shape
        for name, shape in plain.items()
        if not any(part in name for part in _JOINED_WITH_QUERIES)
    }


def _open_clip_name(name: str) -> str:
    for pattern, replacement in _OPEN_CLIP_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _write_safetensors(path: Path, shapes: Mapping[str, tuple[int, ...]], generator: torch.Generator) -> None:
    """The format: length of the header (8 bytes, little-endian), header in JSON, then the tensors one after another."""
    header, position = {}, 0
    for name, shape in shapes.items():
        end = position + math.prod(shape) * _FLOAT16_BYTES
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": (position, end)}
        position = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            file.write(_draw(name, shape, generator).half().numpy().tobytes())


def _draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Norms, whose weights are the only vectors of that name, scale by about 1."""
    values = torch.randn(shape, generator=generator) * _STANDARD_DEVIATION
    is_scale = len(shape) == 1 and name.endswith(".weight")
    return values + 1 if is_scale else values
