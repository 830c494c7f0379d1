"""Loads the base model, brings its parts where they have to be, and prepares them as the options say."""

import logging

import torch

from library.errors import UserError, first_line
from library.models.adapter import ModelAdapter
from library.models.adapter_loading import load_model
from library.models.family import ModelFamily
from library.models.model_parts import ModelPrecision, ModelRequest, TextForm
from library.models.text_chunks import TEXT_PER_CHUNK
from library.options.groups import PrecisionOptions
from library.options.schema import Settings
from library.training.preflight import RunPlan

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")
_DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def dtype_of(precision: PrecisionOptions) -> torch.dtype:
    """In which the frozen model is kept and everything is computed."""
    return _DTYPES[precision.mixed_precision]


def load_base_model(plan: RunPlan, device: torch.device) -> ModelAdapter:
    """The frozen model.

    Raises:
        UserError: the model is damaged or incomplete.
    """
    logger.info("loading %s", plan.base.model.name)
    return load_model(_request(plan, device))


def prepare_base_model(model: ModelAdapter, settings: Settings) -> None:
    """Gives the model the attention, storage and checkpointing that the options ask for.

    Raises:
        UserError: xformers does not work here.
    """
    if settings.attention.xformers:
        _use_xformers(model)
    precision = settings.precision
    if precision.fp8_base or precision.fp8_base_unet:
        model.store_in_eight_bits(precision.fp8_base, compute_dtype=dtype_of(precision))
    if settings.training.gradient_checkpointing:
        model.enable_gradient_checkpointing(in_main_memory=settings.memory.cpu_offload_checkpointing)


def _request(plan: RunPlan, device: torch.device) -> ModelRequest:
    settings = plan.resolved.settings
    text, model = settings.text, settings.model
    return ModelRequest(
        source=plan.base.model.source,
        family=plan.family,
        precision=_precision(settings, plan.family, device),
        device=device if _loads_to_device(settings) else CPU,
        vae=None if plan.base.vae is None else plan.base.vae.source,
        text=TextForm(
            chunks=(text.max_token_length or TEXT_PER_CHUNK) // TEXT_PER_CHUNK,
            weighted=text.weighted_captions,
            clip_skip=model.layer_from_end,
        ),
        use_mmap=not model.disable_mmap_load_safetensors,
        tokenizer_cache_dir=model.tokenizer_cache_dir,
    )


def _loads_to_device(settings: Settings) -> bool:
    """Straight to the device, unless the parts are needed there one after another, or become smaller first."""
    precision, cache = settings.precision, settings.cache
    waits = cache.caches_latents or cache.caches_text or precision.fp8_base or precision.fp8_base_unet
    return settings.memory.lowram or not waits


def _precision(settings: Settings, family: ModelFamily, device: torch.device) -> ModelPrecision:
    weights = dtype_of(settings.precision)
    if settings.model.no_half_vae:
        return ModelPrecision(weights, vae=torch.float32)
    if weights is torch.float16 and family.vae_overflows_in_float16 and device.type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return ModelPrecision(weights, vae=torch.bfloat16 if has_bfloat16 else weights)
    return ModelPrecision(weights, vae=weights)


def _use_xformers(model: ModelAdapter) -> None:
    """
    Raises:
        UserError: xformers does not work here, as when it was built for another PyTorch.
    """
    try:
        model.use_xformers()
    except Exception as error:  # noqa: BLE001 - a trial run of its kernels may fail in any way
        raise UserError(
            f"--xformers cannot be used: {first_line(error)}. Leave it out to use PyTorch's own attention, "
            "or install the release of xformers that was built for this PyTorch"
        ) from None


def free_device_memory(device: torch.device) -> None:
    """Gives back what parts that have left the device took there."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
