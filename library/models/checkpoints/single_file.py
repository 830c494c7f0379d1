"""Loads a base model from one file in the original layout."""

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from library.errors import UserError, last_line
from library.models.checkpoints import architecture, open_clip_layout, original_layout
from library.models.checkpoints.assembly import build_vae, empty, fill, require_fitting_widths, require_none
from library.models.checkpoints.identification import UNET_PREFIX, VAE_PREFIX
from library.models.checkpoints.separate_vae import load_vae
from library.models.checkpoints.weights_file import WeightsFile
from library.models.clip_tokenizer import CaptionTokenizer, standard_clip_tokenizer
from library.models.family_forms import FamilyForm, TextEncoderForm
from library.models.model_parts import ModelParts, ModelRequest
from library.models.model_source import MODEL_OPTION
from library.unet_names import unet_modules

logger = logging.getLogger(__name__)

_TEXT_MODULES = ("embeddings.", "encoder.", "final_layer_norm.", "text_projection.")
"""What a text encoder consists of; files may hold more of CLIP."""

ReadPart = Callable[[str, torch.dtype | None], dict[str, torch.Tensor]]
"""Prefix and precision -> the tensors below the prefix, without it."""


def load_single_file(request: ModelRequest, form: FamilyForm) -> ModelParts:
    """
    Raises:
        UserError: the file is damaged or incomplete.
    """
    path = Path(request.source.place)
    file = WeightsFile(path, MODEL_OPTION, request.use_mmap)

    def read_part(prefix: str, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
        names = [name for name in file.shapes if name.startswith(prefix)]
        if not names:
            raise RuntimeError(f"it holds no tensors named {prefix}*")
        tensors = file.read(names, dtype, request.device)
        return {name[len(prefix) :]: tensors.pop(name) for name in names}

    try:
        parts = _load_parts(request, form, read_part)
    except KeyError as error:
        raise UserError(f"--{MODEL_OPTION} '{path}' is incomplete: {error.args[0]} is missing") from None
    except (RuntimeError, ValueError, IndexError) as error:
        raise UserError(f"--{MODEL_OPTION} '{path}' is incomplete: {last_line(error)}") from None
    require_fitting_widths(parts.unet, parts.text_encoders, path)
    return parts


def _load_parts(request: ModelRequest, form: FamilyForm, read_part: ReadPart) -> ModelParts:
    weights, precision = request.precision.weights, request.precision
    text_encoders = [_build_text_encoder(read_part(one.prefix, weights), one) for one in form.text_encoders]
    unet = _build_unet(read_part(UNET_PREFIX, weights), form.attention_heads)
    if request.vae is None:
        vae = build_vae(read_part(VAE_PREFIX, precision.vae), request.family.latent_scale)
    else:
        vae = load_vae(request.vae, request.family.latent_scale, precision.vae, request.device, request.use_mmap)
    return ModelParts(unet, tuple(text_encoders), _tokenizers(request, form), vae)


def _tokenizers(request: ModelRequest, form: FamilyForm) -> tuple[CaptionTokenizer, ...]:
    cache, text = request.tokenizer_cache_dir, request.text
    if cache is None:
        tokenizers = [standard_clip_tokenizer()] * len(form.text_encoders)
    else:
        tokenizers = [standard_clip_tokenizer(cache, one.tokenizer_name) for one in form.text_encoders]
    return tuple(
        CaptionTokenizer(tokenizer, one.pads_with_end, text.chunks, text.weighted)
        for tokenizer, one in zip(tokenizers, form.text_encoders, strict=True)
    )


def _build_unet(weights: dict[str, torch.Tensor], heads: int | None) -> UNet2DConditionModel:
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    configuration = architecture.unet_configuration(shapes, heads)
    modules = unet_modules(architecture.attention_levels(shapes))
    renamed, unknown = original_layout.rename(weights, modules)
    if unknown:
        logger.warning(
            "%d tensors of the U-Net belong to no layer and are not used, %s among them", len(unknown), unknown[0]
        )
    return fill(UNet2DConditionModel, renamed, **configuration)


def _build_text_encoder(weights: dict[str, torch.Tensor], form: TextEncoderForm) -> CLIPTextModel:
    if form.is_open_clip:
        plain, unknown = open_clip_layout.to_transformers(weights, form.has_projection)
        require_none(unknown)
        if form.used_layers is not None:
            plain = open_clip_layout.first_layers(plain, form.used_layers)
    else:
        plain = _without_extras(weights)
    shapes = {name: tuple(tensor.shape) for name, tensor in plain.items()}
    configuration = CLIPTextConfig(**architecture.clip_configuration(shapes, form.activation))
    kind = CLIPTextModelWithProjection if form.has_projection else CLIPTextModel
    return fill(kind, _with_expected_level(plain, kind, configuration), configuration)


def _without_extras(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Some old files lack the level `text_model`; position_ids is a constant that old files store."""
    plain = {name.removeprefix("text_model."): tensor for name, tensor in weights.items()}
    plain.pop("embeddings.position_ids", None)
    plain.pop("text_projection.weight", None)
    return {name: tensor for name, tensor in plain.items() if name.startswith(_TEXT_MODULES)}


def _with_expected_level(
    plain: dict[str, torch.Tensor], kind: type, configuration: CLIPTextConfig
) -> dict[str, torch.Tensor]:
    """Whether the modules lie below `text_model` differs between transformers' classes and releases."""
    expected = empty(kind, configuration).state_dict()
    return {name if name in expected else f"text_model.{name}": tensor for name, tensor in plain.items()}
