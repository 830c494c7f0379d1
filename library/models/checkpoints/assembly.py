"""Models built around tensors that have been read: nothing is initialised, nothing is copied."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from library.errors import UserError
from library.models.checkpoints import architecture, original_layout
from library.models.model_source import MODEL_OPTION

VAE_SIDES = ("encoder.", "decoder.")


def empty(model: type[nn.Module], *arguments: Any, **keywords: Any) -> nn.Module:
    """A model without memory for its weights."""
    with init_empty_weights(include_buffers=False):
        return model(*arguments, **keywords)


def fill(model: type, weights: dict[str, torch.Tensor], *arguments: Any, **keywords: Any) -> Any:
    """A model that uses these very tensors.

    Raises:
        RuntimeError: tensors are missing, have the wrong shape, or belong to layers that nothing else speaks of.
    """
    built = empty(model, *arguments, **keywords)
    require_none(assign(built, weights))
    device = next(iter(weights.values())).device
    return built.to(device)  # its buffers


def assign(model: nn.Module, weights: dict[str, torch.Tensor]) -> list[str]:
    """Makes these tensors the model's weights. Returns the names of those that it has no place for.

    Raises:
        RuntimeError: tensors are missing or have the wrong shape.
    """
    result = model.load_state_dict(weights, strict=False, assign=True)
    missing = result.missing_keys
    if missing:
        raise RuntimeError(f"{len(missing)} tensors are missing, {missing[0]} among them")
    return result.unexpected_keys


def require_none(homeless: Sequence[str]) -> None:
    """The architecture is read from a few tensors: without one of them, whole layers would go missing unnoticed.

    Raises:
        RuntimeError: there are tensors without a home.
    """
    if homeless:
        raise RuntimeError(f"the layers of {len(homeless)} tensors cannot be told, {homeless[0]} among them")


def build_vae(weights: dict[str, torch.Tensor], scaling_factor: float) -> AutoencoderKL:
    """Takes original names.

    Raises:
        KeyError, RuntimeError: tensors are missing.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    configuration = architecture.vae_configuration(shapes, scaling_factor)
    levels, layers = len(configuration["block_out_channels"]), configuration["layers_per_block"]
    renamed, unknown = original_layout.rename(weights, original_layout.vae_modules(levels, layers))
    require_none([name for name in unknown if name.startswith(VAE_SIDES)])
    return fill(AutoencoderKL, original_layout.flatten_attention_convolutions(renamed), **configuration)


def require_fitting_widths(unet: UNet2DConditionModel, text_encoders: tuple[Any, ...], place: Path) -> None:
    """
    Raises:
        UserError: the U-Net takes another number of text features than the text encoders give together.
    """
    given = sum(encoder.config.hidden_size for encoder in text_encoders)
    taken = unet.config.cross_attention_dim
    if given != taken:
        raise UserError(
            f"--{MODEL_OPTION} '{place}': its U-Net takes {taken} text features but its text encoders give {given}"
        )
