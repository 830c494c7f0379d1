"""What a network file holds, without a model."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from networks.files.client_support import Form, forms_in
from networks.kinds.catalogue import recognise, tensors_by_layer

_RANK_SUFFIXES: Mapping[str, int] = {
    "lora_down.weight": 0,
    "hada_w1_b": 0,
    "lokr_w2_b": 0,
    "lokr_w1_b": 0,
    "a2.weight": 0,
}
"""Suffix -> the axis of its tensor that is as long as the rank; the first that a layer has counts."""


@dataclass(frozen=True)
class FileContents:
    layers: list[str]
    forms: Counter[Form]
    """form -> number of layers"""
    sizes: Counter[tuple[int | None, float | None]]
    """(rank, alpha) -> number of layers; None for what a layer does not have"""
    dtypes: Counter[str]
    """precision -> number of tensors"""
    not_finite: list[str]
    """tensors with NaN or infinity"""
    unknown: list[str]
    """layers of no kind that is known"""
    largest: float
    """absolute value"""


def examine_contents(weights: Mapping[str, torch.Tensor]) -> FileContents:
    """
    Args:
        weights: by the names that we write (networks.files.key_dialects).
    """
    layers = tensors_by_layer(weights)
    finite = {name: bool(torch.isfinite(tensor).all()) for name, tensor in weights.items()}
    largest = [tensor.abs().max().item() for name, tensor in weights.items() if finite[name] and tensor.numel()]
    return FileContents(
        layers=list(layers),
        forms=forms_in(weights),
        sizes=Counter(_size(tensors) for tensors in layers.values()),
        dtypes=Counter(str(tensor.dtype).removeprefix("torch.") for tensor in weights.values()),
        not_finite=[name for name, is_finite in finite.items() if not is_finite],
        unknown=[name for name, tensors in layers.items() if recognise(tensors) is None],
        largest=max(largest, default=0.0),
    )


def _size(tensors: Mapping[str, torch.Tensor]) -> tuple[int | None, float | None]:
    rank = next((tensors[suffix].shape[axis] for suffix, axis in _RANK_SUFFIXES.items() if suffix in tensors), None)
    return rank, float(tensors["alpha"]) if "alpha" in tensors else None
