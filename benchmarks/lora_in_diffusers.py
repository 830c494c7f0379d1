"""Whether diffusers finds a place for every tensor of a LoRA file in models of full size."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers.utils.logging import disable_progress_bar

from benchmarks.full_size_models import FullSizeModel

_ADAPTER = "trained"
_MATRICES = ("lora_A", "lora_B")

Fingerprint = tuple[torch.Size, float, float]


@dataclass(frozen=True)
class Placement:
    in_file: int
    """matrices, two for each layer"""
    in_model: int
    """of these, found in the model with the file's values"""
    layers: int
    changed_layers: int
    """whose change is not zero any more"""
    complaints: tuple[str, ...]
    """of diffusers"""


def place_in_diffusers(lora: Path, model: FullSizeModel) -> Placement:
    """
    Raises:
        ValueError: diffusers refuses the file.
    """
    disable_progress_bar()  # it would count matrices that are placed in no time
    unet = _without_memory(model.unet_for_lora())
    encoders = [_without_memory(build()) for build in model.empty_text_encoders]
    loader = model.lora_loader
    with _complaints() as complaints:
        tensors, alphas = loader.lora_state_dict(str(lora), unet_config=unet.config)
        loader.load_lora_into_unet(tensors, network_alphas=alphas, unet=unet, adapter_name=_ADAPTER)
        for encoder, prefix in zip(encoders, ("text_encoder", "text_encoder_2"), strict=False):
            loader.load_lora_into_text_encoder(
                tensors, network_alphas=alphas, text_encoder=encoder, prefix=prefix, adapter_name=_ADAPTER
            )
    file = load_file(lora)
    matrices = [tensor for name, tensor in file.items() if not name.endswith(".alpha")]
    ups = [tensor for name, tensor in file.items() if name.endswith(".lora_up.weight")]
    placed = [matrix for part in (unet, *encoders) for matrix in _matrices_in(part)]
    return Placement(
        in_file=len(matrices),
        in_model=(_fingerprints(matrices) & _fingerprints(placed)).total(),
        layers=len(ups),
        changed_layers=sum(bool(up.any()) for up in ups),
        complaints=tuple(complaints),
    )


def _without_memory(model: nn.Module) -> nn.Module:
    """With weights that are reserved but never touched, for which Linux provides no memory."""
    return model.half().to_empty(device="cpu")


def _matrices_in(model: nn.Module) -> list[torch.Tensor]:
    layers = [getattr(module, kind) for module in model.modules() for kind in _MATRICES if hasattr(module, kind)]
    return [layer[_ADAPTER].weight.detach() for layer in layers if _ADAPTER in layer]


def _fingerprints(matrices: Iterable[torch.Tensor]) -> Counter[Fingerprint]:
    """Tells matrices apart by their values in the model's precision, wherever they are."""
    return Counter(_fingerprint(matrix.half().double()) for matrix in matrices)


def _fingerprint(matrix: torch.Tensor) -> Fingerprint:
    return matrix.shape, float(matrix.abs().sum()), float(matrix.flatten()[::7].sum())


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collects warnings that diffusers writes to its log instead of raising them."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("diffusers")
    log.addHandler(handler)
    try:
        yield messages
    finally:
        log.removeHandler(handler)
