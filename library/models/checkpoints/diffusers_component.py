"""Loads one component of a model from its folder, as diffusers and transformers save them."""

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig

from library.errors import last_line
from library.models.checkpoints.assembly import assign
from library.models.checkpoints.original_layout import flatten_attention_convolutions
from library.models.checkpoints.weights_file import WeightsFile
from library.models.diffusers_layout import CONFIGURATION, weights_files

Weights = dict[str, torch.Tensor]

logger = logging.getLogger(__name__)

_LEVEL = "text_model."
"""Whether a text encoder's modules lie below it differs between transformers' classes and releases."""
_OLDER_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
"""Names in VAEs that were saved by diffusers before 0.15."""


def load_unet(folder: Path, option: str, dtype: torch.dtype | None, device: torch.device, use_mmap: bool) -> Any:
    return _load(lambda: _from_configuration(UNet2DConditionModel, folder), folder, option, dtype, device, use_mmap)


def load_autoencoder(folder: Path, option: str, dtype: torch.dtype | None, device: torch.device, use_mmap: bool) -> Any:
    return _load(
        lambda: _from_configuration(AutoencoderKL, folder), folder, option, dtype, device, use_mmap,
        flatten_attention_convolutions,
    )  # fmt: skip


def load_text_encoder(
    kind: Any, folder: Path, option: str, dtype: torch.dtype | None, device: torch.device, use_mmap: bool
) -> Any:
    def build() -> nn.Module:
        return kind(CLIPTextConfig.from_pretrained(folder, local_files_only=True))

    return _load(build, folder, option, dtype, device, use_mmap)


def _from_configuration(kind: Any, folder: Path) -> nn.Module:
    return kind.from_config(kind.load_config(folder, local_files_only=True))


def _load(
    build: Callable[[], nn.Module],
    folder: Path,
    option: str,
    dtype: torch.dtype | None,
    device: torch.device,
    use_mmap: bool,
    adapt: Callable[[Weights], Weights] = dict,
) -> Any:
    """
    Args:
        build: makes the model by its configuration.
        adapt: changes tensors that older files have in another shape.

    Raises:
        UserError: a file of weights is damaged; names option and file.
        OSError, ValueError, RuntimeError: files or tensors are missing, or have wrong shapes, or a text encoder
            has more layers than its configuration says, so that another one would be taken.
    """
    weights: Weights = {}
    for path in weights_files(folder):
        file = WeightsFile(path, option, use_mmap)
        weights |= file.read(list(file.shapes), dtype, device)
    if not weights:
        raise ValueError(f"its folder '{folder.name}' holds no weights")
    model = _build(build, folder)
    expected = model.state_dict().keys()
    named = {_current_name(name, expected): tensor for name, tensor in weights.items()}
    unused = [name for name in assign(model, adapt(named)) if "position_ids" not in name]
    if any(".layers." in name for name in unused):
        raise ValueError(f"'{folder.name}' holds more layers than its {CONFIGURATION} says, {unused[0]} among them")
    if unused:
        logger.warning("'%s': %d tensors are not used, %s among them", folder, len(unused), unused[0])
    return model.to(device)


def _build(build: Callable[[], nn.Module], folder: Path) -> nn.Module:
    """
    Raises:
        ValueError: the configuration describes no model.
    """
    try:
        with init_empty_weights(include_buffers=False):
            return build()
    except Exception as error:  # noqa: BLE001 - the libraries check little, so that it is of many kinds
        reason = f"{type(error).__name__}: {last_line(error)}"
        raise ValueError(f"'{folder.name}/{CONFIGURATION}' describes no model ({reason})") from None


def current_attention_name(name: str) -> str:
    """A VAE tensor's name as diffusers has it today."""
    for older, newer in _OLDER_ATTENTION.items():
        name = name.replace(older, newer)
    return name


def _current_name(name: str, expected: Collection[str]) -> str:
    name = name if name in expected else current_attention_name(name)
    return next((one for one in (name, name.removeprefix(_LEVEL), f"{_LEVEL}{name}") if one in expected), name)
