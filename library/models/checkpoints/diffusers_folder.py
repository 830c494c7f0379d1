"""Loads a base model from a diffusers folder."""

from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from library.errors import UserError, last_line
from library.models.checkpoints.assembly import require_fitting_widths
from library.models.checkpoints.diffusers_component import load_autoencoder, load_text_encoder, load_unet
from library.models.checkpoints.separate_vae import load_vae
from library.models.clip_tokenizer import CaptionTokenizer, read_tokenizer
from library.models.diffusers_layout import UNET, VAE
from library.models.family_forms import FamilyForm, TextEncoderForm
from library.models.model_parts import ModelParts, ModelRequest
from library.models.model_source import MODEL_OPTION


def load_diffusers_folder(request: ModelRequest, form: FamilyForm) -> ModelParts:
    """
    Raises:
        UserError: the folder is damaged or incomplete, or its parts do not belong together.
    """
    place = Path(request.source.place)
    try:
        tokenizers = tuple(_load_tokenizer(place, one, request) for one in form.text_encoders)
        text_encoders = tuple(_load_text_encoder(place, one, request) for one in form.text_encoders)
        unet = load_unet(place / UNET, MODEL_OPTION, request.precision.weights, request.device, request.use_mmap)
        vae = _load_own_vae(place, request)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"--{MODEL_OPTION} '{place}' cannot be loaded: {last_line(error)}") from None
    require_fitting_widths(unet, text_encoders, place)
    return ModelParts(unet, text_encoders, tokenizers, vae)


def _load_own_vae(place: Path, request: ModelRequest) -> AutoencoderKL:
    family, precision = request.family, request.precision
    if request.vae is not None:
        return load_vae(request.vae, family.latent_scale, precision.vae, request.device, request.use_mmap)
    vae = load_autoencoder(place / VAE, MODEL_OPTION, precision.vae, request.device, request.use_mmap)
    vae.register_to_config(scaling_factor=family.latent_scale)
    return vae


def _load_text_encoder(place: Path, form: TextEncoderForm, request: ModelRequest) -> Any:
    kind = CLIPTextModelWithProjection if form.has_projection else CLIPTextModel
    weights = request.precision.weights
    return load_text_encoder(kind, place / form.folder, MODEL_OPTION, weights, request.device, request.use_mmap)


def _load_tokenizer(place: Path, form: TextEncoderForm, request: ModelRequest) -> CaptionTokenizer:
    tokenizer = read_tokenizer(place / form.tokenizer_folder)
    return CaptionTokenizer(tokenizer, form.pads_with_end, request.text.chunks, request.text.weighted)
