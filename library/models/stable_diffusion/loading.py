"""Loads SD 1.x from a diffusers folder, a hub id or one file in the original layout."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import SafetensorError
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.utils.logging import disable_progress_bar

from library.errors import UserError
from library.models.adapter import ModelPrecision
from library.models.checkpoints import identification, original_layout
from library.models.checkpoints.weights_file import read_weights
from library.models.clip_tokenizer import CaptionTokenizer, standard_clip_tokenizer
from library.models.family import SD1
from library.models.hub import fetch_model
from library.models.model_source import MODEL_OPTION, ModelSource, SourceKind
from library.models.stable_diffusion.adapter import StableDiffusion1

SCALING_FACTOR = 0.18215
ATTENTION_HEADS = 8
TEXT_HEAD_WIDTH = 64

_TEXT_MODULES = ("embeddings.", "encoder.", "final_layer_norm.")
"""What the text encoder consists of; files may hold more of CLIP."""


def load_stable_diffusion_1(source: ModelSource, precision: ModelPrecision) -> StableDiffusion1:
    """
    Raises:
        UserError: the model is missing, damaged or of another family.
    """
    if source.kind is SourceKind.FILE:
        return _load_single_file(Path(source.place), precision)
    if source.kind is SourceKind.HUB:
        return _load_folder(fetch_model(source.place, MODEL_OPTION), precision)
    return _load_folder(Path(source.place), precision)


def _load_folder(place: Path, precision: ModelPrecision) -> StableDiffusion1:
    disable_progress_bar()  # it would count tensors that are read in no time
    weights, vae_weights = precision.weights, precision.vae
    reported = {"local_files_only": True, "output_loading_info": True}
    try:
        tokenizer = _load_tokenizer(place)
        unet = _complete(UNet2DConditionModel.from_pretrained(place, subfolder="unet", torch_dtype=weights, **reported))
        text_encoder = _complete(
            CLIPTextModel.from_pretrained(place, subfolder="text_encoder", dtype=weights, **reported)
        )
        vae = _complete(AutoencoderKL.from_pretrained(place, subfolder="vae", torch_dtype=vae_weights, **reported))
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"--{MODEL_OPTION} '{place}' cannot be loaded: {str(error).strip()}") from None
    _require_sd1(unet, text_encoder.config.hidden_size, place)
    return StableDiffusion1(unet, text_encoder, vae, CaptionTokenizer(tokenizer))


def _load_tokenizer(place: Path) -> CLIPTokenizer:
    """
    Raises:
        ValueError: there is none; transformers would make one without words.
    """
    if not any((place / "tokenizer" / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise ValueError("its folder 'tokenizer' is missing or empty")
    return CLIPTokenizer.from_pretrained(place, subfolder="tokenizer", local_files_only=True)


def _complete(loaded: tuple[Any, dict[str, Any]]) -> Any:
    """The model, from what was loaded and a report on it.

    Raises:
        ValueError: tensors are missing; the libraries would go on with random ones.
    """
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(f"{len(missing)} tensors of {type(model).__name__} are missing, {missing[0]} among them")
    return model


def _require_sd1(unet: UNet2DConditionModel, text_width: int, place: Path) -> None:
    unet_width, channels = unet.config.cross_attention_dim, unet.config.in_channels
    if unet_width != text_width:
        problem = f"its U-Net takes {unet_width} text features but its text encoder gives {text_width}"
    elif unet_width == identification.SD2_TEXT_WIDTH:
        problem = f"it looks like {identification.SD2}"
    elif channels != SD1.latents.channels:
        problem = f"its U-Net takes {channels} channels instead of {SD1.latents.channels}, as inpainting models do"
    else:
        return
    raise UserError(f"--{MODEL_OPTION} '{place}': {problem}; this version trains SD 1.x models")


def _load_single_file(path: Path, precision: ModelPrecision) -> StableDiffusion1:
    weights = read_weights(path, MODEL_OPTION)
    kind = identification.identify(weights)
    if kind != identification.SD1:
        raise UserError(f"--{MODEL_OPTION} '{path}' looks like {kind}; this version trains SD 1.x models")
    try:
        unet = _build_unet(_part(weights, original_layout.UNET_PREFIX, precision.weights))
        vae = _build_vae(_part(weights, original_layout.VAE_PREFIX, precision.vae))
        text_encoder = _build_text_encoder(_part(weights, original_layout.TEXT_PREFIX, precision.weights))
    except KeyError as error:
        raise UserError(f"--{MODEL_OPTION} '{path}' is incomplete: {error.args[0]} is missing") from None
    except (RuntimeError, ValueError, IndexError) as error:
        detail = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"--{MODEL_OPTION} '{path}' is incomplete: {detail}") from None
    _require_sd1(unet, text_encoder.config.hidden_size, path)
    return StableDiffusion1(unet, text_encoder, vae, CaptionTokenizer(standard_clip_tokenizer()))


def _part(weights: dict[str, torch.Tensor], prefix: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """One model's tensors in its precision, copied out of the memory-mapped file one by one.

    Raises:
        RuntimeError: there are none.
    """
    part = original_layout.extract(weights, prefix)
    if not part:
        raise RuntimeError(f"it holds no tensors named {prefix}*")
    return {name: tensor.to(dtype, copy=True) for name, tensor in part.items()}


def _build_unet(weights: dict[str, torch.Tensor]) -> UNet2DConditionModel:
    configuration = original_layout.unet_configuration(weights, ATTENTION_HEADS)
    levels = len(configuration["block_out_channels"])
    renamed, _ = original_layout.rename(weights, original_layout.unet_modules(levels))
    return _fill(UNet2DConditionModel, renamed, **configuration)


def _build_vae(weights: dict[str, torch.Tensor]) -> AutoencoderKL:
    configuration = original_layout.vae_configuration(weights, SCALING_FACTOR)
    levels, layers = len(configuration["block_out_channels"]), configuration["layers_per_block"]
    renamed, unknown = original_layout.rename(weights, original_layout.vae_modules(levels, layers))
    _require_none([name for name in unknown if name.startswith(("encoder.", "decoder."))])
    return _fill(AutoencoderKL, original_layout.flatten_attention_convolutions(renamed), **configuration)


def _build_text_encoder(weights: dict[str, torch.Tensor]) -> CLIPTextModel:
    """Some old files lack the level `text_model`; position_ids is a constant that old files store."""
    plain = {name.removeprefix("text_model."): tensor for name, tensor in weights.items()}
    plain = {name: tensor for name, tensor in plain.items() if name.startswith(_TEXT_MODULES)}
    plain.pop("embeddings.position_ids", None)
    configuration = CLIPTextConfig(**original_layout.clip_configuration(plain, TEXT_HEAD_WIDTH))
    with_level = any(name.startswith("text_model.") for name in _empty(CLIPTextModel, configuration).state_dict())
    return _fill(
        CLIPTextModel, {f"text_model.{k}": v for k, v in plain.items()} if with_level else plain, configuration
    )


def _empty(model: type[nn.Module], *arguments: Any, **keywords: Any) -> nn.Module:
    """A model without memory for its weights."""
    with init_empty_weights(include_buffers=False):
        return model(*arguments, **keywords)


def _fill(model: type, weights: dict[str, torch.Tensor], *arguments: Any, **keywords: Any) -> Any:
    """A model that uses these very tensors: nothing is initialised.

    Raises:
        RuntimeError: tensors are missing, have the wrong shape, or belong to layers that nothing else speaks of.
    """
    built = _empty(model, *arguments, **keywords)
    result = built.load_state_dict(weights, strict=False, assign=True)
    if result.missing_keys:
        raise RuntimeError(f"{len(result.missing_keys)} tensors are missing, {result.missing_keys[0]} among them")
    _require_none(result.unexpected_keys)
    return built


def _require_none(homeless: Sequence[str]) -> None:
    """The architecture is read from a few tensors: without one of them, whole layers would go missing unnoticed."""
    if homeless:
        raise RuntimeError(f"the layers of {len(homeless)} tensors cannot be told, {homeless[0]} among them")
