"""Which text encoders, used in which way, cached outputs come from."""

import hashlib
import json
from collections.abc import Iterable, Sequence

import torch
from torch import nn

FORMAT_VERSION = 1
"""Raised when outputs stored before would be wrong, or cannot be read."""
_KEY_LENGTH = 32
"""Hexadecimal digits, 128 bits: enough that no two things ever share a key by chance."""


def caption_key(caption: str) -> str:
    """Stands for a caption in files."""
    return hashlib.sha256(caption.encode("utf-8", "surrogatepass")).hexdigest()[:_KEY_LENGTH]


def content_hash(tensors: Iterable[torch.Tensor], text: str = "") -> str:
    """SHA-256 over kind, shape and raw bytes of every tensor, and a text; tensors may be on any device."""
    digest = hashlib.sha256(text.encode())
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().to("cpu").contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def weights_fingerprint(modules: Sequence[nn.Module]) -> str:
    """The same for modules of the same weights in the same order, whatever file they came from and whatever the
    weights are called. About a second for each gigabyte."""
    return content_hash(
        tensor for module in modules for tensor in (*module.parameters(), *module.buffers())
    )  # with buffers that no state dict holds, such as the scales of weights in eight bits


def settings_key(
    family: str,
    weights: str,
    token_length: int,
    weighted_captions: bool,
    clip_skip: int | None,
    precision: torch.dtype,
) -> str:
    """A name for everything but the caption that determines the text encoders' outputs.

    Args:
        family: the model family's name: padding and the assembly of chunks are the family's.
        weights: from `weights_fingerprint`, taken when the text encoders are as they are while encoding.
        precision: in which the text encoders compute.
    """
    settings = {
        "format": FORMAT_VERSION,
        "family": family,
        "weights": weights,
        "token_length": token_length,
        "weighted_captions": weighted_captions,
        "clip_skip": clip_skip,
        "precision": str(precision),
    }
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]
