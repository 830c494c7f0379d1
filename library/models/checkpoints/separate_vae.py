"""Loads a VAE by itself: --vae."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL

from library.errors import UserError, last_line
from library.models.checkpoints import architecture, original_layout
from library.models.checkpoints.assembly import VAE_SIDES, build_vae, fill
from library.models.checkpoints.diffusers_component import current_attention_name, load_autoencoder
from library.models.checkpoints.identification import VAE_PREFIX
from library.models.checkpoints.weights_file import WeightsFile
from library.models.model_source import VAE_OPTION, ModelSource, SourceKind

_LAYERS = (*VAE_SIDES, "quant_conv.", "post_quant_conv.")


def load_vae(
    source: ModelSource, scaling_factor: float, dtype: torch.dtype | None, device: torch.device, use_mmap: bool
) -> AutoencoderKL:
    """
    Raises:
        UserError: the VAE is damaged or incomplete.
    """
    place = Path(source.place)
    try:
        if source.kind is SourceKind.FILE:
            return _load_file(place, scaling_factor, dtype, device, use_mmap)
        vae = load_autoencoder(place, VAE_OPTION, dtype, device, use_mmap)
    except KeyError as error:
        raise UserError(f"--{VAE_OPTION} '{place}' is incomplete: {error.args[0]} is missing") from None
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        raise UserError(f"--{VAE_OPTION} '{place}' cannot be loaded: {last_line(error)}") from None
    vae.register_to_config(scaling_factor=scaling_factor)
    return vae


def _load_file(
    path: Path, scaling_factor: float, dtype: torch.dtype | None, device: torch.device, use_mmap: bool
) -> AutoencoderKL:
    """A VAE alone or a whole model; in the original layout, or that of diffusers."""
    file = WeightsFile(path, VAE_OPTION, use_mmap)
    whole_model = any(name.startswith(VAE_PREFIX) for name in file.shapes)
    prefix = VAE_PREFIX if whole_model else ""
    names = [name for name in file.shapes if name.removeprefix(prefix).startswith(_LAYERS)]
    tensors = file.read(names, dtype, device)
    weights = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    if architecture.DIFFUSERS_VAE_LAYER.format(0, 0) in weights:
        return _from_diffusers_names(weights, scaling_factor)
    return build_vae(weights, scaling_factor)


def _from_diffusers_names(weights: dict[str, torch.Tensor], scaling_factor: float) -> AutoencoderKL:
    weights = {current_attention_name(name): tensor for name, tensor in weights.items()}
    weights = original_layout.flatten_attention_convolutions(weights)
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    configuration = architecture.vae_configuration(shapes, scaling_factor, architecture.DIFFUSERS_VAE_LAYER)
    return fill(AutoencoderKL, weights, **configuration)
