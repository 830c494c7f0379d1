"""What a network file holds, without a model."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from networks.files.client_support import Form, forms_in
from networks.files.weights_file import not_finite
from networks.kinds.catalogue import recognise, tensors_by_layer
from networks.kinds.file_ranks import rank_in_file


@dataclass(frozen=True)
class FileContents:
    layers: list[str]
    forms: Counter[Form]
    """form -> number of layers"""
    sizes: Counter[tuple[int, float | None] | None]
    """rank, and alpha if there is one -> number of layers; None for layers without a rank, in which alpha is something
    else, as the limit of OFT, or means nothing"""
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
    broken = not_finite(weights)
    largest = [tensor.abs().max().item() for name, tensor in weights.items() if name not in broken and tensor.numel()]
    return FileContents(
        layers=list(layers),
        forms=forms_in(weights),
        sizes=Counter(_size(tensors) for tensors in layers.values()),
        dtypes=Counter(str(tensor.dtype).removeprefix("torch.") for tensor in weights.values()),
        not_finite=broken,
        unknown=[name for name, tensors in layers.items() if recognise(tensors) is None],
        largest=max(largest, default=0.0),
    )


def _size(tensors: Mapping[str, torch.Tensor]) -> tuple[int, float | None] | None:
    rank = rank_in_file(tensors)
    if rank is None:
        return None
    return rank, float(tensors["alpha"]) if "alpha" in tensors else None
