"""Turns a network file's content into a form that another program reads."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from library.errors import UserError
from library.wording import listed
from networks.files.client_support import is_of_sd2
from networks.files.conversion_metadata import Metadata, TargetForm, updated_metadata
from networks.files.key_dialects import to_own_names
from networks.files.layer_deltas import changes_in
from networks.files.peft_format import to_peft
from networks.files.plain_forms import LayerChange, PlainLoRA, RankChoice, to_differences, to_plain_lora
from networks.files.weights_file import not_finite
from networks.kinds.catalogue import tensors_by_layer

Weights = Mapping[str, torch.Tensor]
Progress = Callable[[Iterable[LayerChange], int], Iterable[LayerChange]]
"""Changes and their number -> the same changes, shown while they pass."""


@dataclass(frozen=True)
class Source:
    """A network file's content."""

    name: str
    tensors: Weights
    metadata: Metadata


@dataclass(frozen=True)
class Base:
    """The model that a network was trained on."""

    layers: Mapping[str, nn.Module]
    """By our names."""
    is_v2: bool
    """SD 2.x"""


@dataclass(frozen=True)
class Conversion:
    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str]
    kept: tuple[str, ...] = ()
    """Tensors that belong to no layer, and were taken over as they are."""
    approximation: PlainLoRA | None = None
    """What was lost, if anything."""
    dtype: torch.dtype | None = None
    """To save in; None = each tensor in its own."""


def convert(
    source: Source,
    form: TargetForm,
    base: Base | None,
    ranks: RankChoice,
    progress: Progress,
    dtype: torch.dtype | None = None,
) -> Conversion:
    """
    Args:
        base: needed for kinds whose change depends on the model's weights, and only if the change is asked for.
        ranks: for a plain LoRA.
        dtype: to save in; None = that of the source.

    Raises:
        UserError: the network cannot be brought into that form.
    """
    _require_finite(source)
    layers = None if base is None else base.layers
    named, report = to_own_names(source.tensors, layers, source.metadata)
    kept = {key: named.pop(key) for key in report.unknown}
    if not named:
        raise UserError(f"network file '{source.name}': none of its tensors belongs to a layer of a model")
    approximation = None
    if form is TargetForm.KOHYA:
        tensors = named
    elif form is TargetForm.DIFFUSERS:
        tensors = _named_as_in_diffusers(named, kept, base.is_v2 if base else _says_v2(source, named))
    else:
        changes = progress(changes_in(named, layers), len(tensors_by_layer(named)))
        dtype = dtype or _most_common_dtype(named.values())
        approximation = to_plain_lora(changes, ranks) if form is TargetForm.LORA else None
        tensors = approximation.tensors if approximation else to_differences(_in_precision(changes, dtype))
    metadata = updated_metadata(source.metadata, source.name, form, named, tensors)
    return Conversion({**tensors, **kept}, metadata, tuple(kept), approximation, dtype)


def _require_finite(source: Source) -> None:
    """
    Raises:
        UserError: the source is broken.
    """
    broken = not_finite(source.tensors)
    if broken:
        raise UserError(f"network file '{source.name}': NaN or infinity in {listed(broken, 3)}; use another file")


def _in_precision(changes: Iterable[LayerChange], dtype: torch.dtype) -> Iterator[LayerChange]:
    """One by one, since all together are as large as the model."""
    for name, weight, bias in changes:
        yield name, weight.to("cpu", dtype), bias


def _named_as_in_diffusers(tensors: Weights, others: Weights, is_v2: bool) -> dict[str, torch.Tensor]:
    if others:
        raise UserError(f"diffusers refuses files with other tensors, such as {listed(list(others), 2)}")
    return to_peft(tensors, linear_projections=is_v2)


def _says_v2(source: Source, tensors: Weights) -> bool:
    return source.metadata.get("ss_v2") == "True" or is_of_sd2(tensors)


def _most_common_dtype(tensors: Iterable[torch.Tensor]) -> torch.dtype:
    """Of most of the numbers."""
    counts: Counter[torch.dtype] = Counter()
    for tensor in tensors:
        counts[tensor.dtype] += tensor.numel()
    return counts.most_common(1)[0][0]
