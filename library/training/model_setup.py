"""Loads the base model, brings its parts where they have to be, and caches latents."""

import logging
from collections.abc import Callable

import torch

from library.caching.latents_in_memory import encode_all
from library.dataset.batch_preparation import LatentKey
from library.errors import UserError
from library.models.adapter import ModelAdapter, ModelPrecision
from library.models.model_source import ModelSource
from library.options.schema import Settings
from library.training.preflight import RunPlan

logger = logging.getLogger(__name__)

LoadModel = Callable[[ModelSource, ModelPrecision], ModelAdapter]

_DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def load_base_model(plan: RunPlan, load_model: LoadModel) -> ModelAdapter:
    """The frozen model on the CPU, with the attention and checkpointing that the options ask for.

    Raises:
        UserError: the model is missing, damaged or of another family.
    """
    settings = plan.resolved.settings
    logger.info("loading %s", plan.source.place)
    model = load_model(plan.source, _precision(settings))
    if settings.attention.xformers:
        _use_xformers(model)
    if settings.training.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    return model


def _use_xformers(model: ModelAdapter) -> None:
    """
    Raises:
        UserError: xformers does not work here, as when it was built for another PyTorch.
    """
    try:
        model.use_xformers()
    except Exception as error:  # noqa: BLE001 - a trial run of its kernels may fail in any way
        detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"--xformers cannot be used: {detail}. Leave it out to use PyTorch's own attention, "
            "or install the release of xformers that was built for this PyTorch"
        ) from None


def _precision(settings: Settings) -> ModelPrecision:
    weights = _DTYPES[settings.precision.mixed_precision]
    return ModelPrecision(weights, vae=torch.float32 if settings.model.no_half_vae else weights)


def place_model(
    plan: RunPlan, model: ModelAdapter, seed: int, device: torch.device, show_progress: bool
) -> dict[LatentKey, torch.Tensor] | None:
    """Moves the model to the device. Returns the latents, if they are to be cached; the VAE then waits on the
    CPU.

    Raises:
        UserError: an image cannot be read or encoded.
    """
    cache = plan.resolved.settings.cache
    latents = None
    model.move_vae(device)
    if cache.cache_latents:
        latents = encode_all(model, plan.datasets, cache.vae_batch_size, seed, device, show_progress)
        model.move_vae(torch.device("cpu"))
    model.move_unet_and_text_encoders(device)
    return latents
