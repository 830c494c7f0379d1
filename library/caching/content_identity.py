"""What stands for contents in the names of folders, files and entries of caches."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

KEY_LENGTH = 32
"""Hexadecimal digits, 128 bits: enough that no two things ever share a key by chance."""


def text_key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:KEY_LENGTH]


def key_of(properties: Mapping[str, object]) -> str:
    """The same for the same names and values in any order; values are what JSON knows."""
    return text_key(json.dumps(properties, sort_keys=True))


def content_hash(tensors: Iterable[torch.Tensor]) -> str:
    """SHA-256 over kind, shape and raw bytes of every tensor; they may be on any device."""
    digest = hashlib.sha256()
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
