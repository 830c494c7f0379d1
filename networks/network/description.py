"""What a network is, in words for the log. It may be of others, as far as it has kohya's attributes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from library.wording import counted, listed

PARTS: Mapping[str, str] = {"unet_loras": "U-Net", "text_encoder_loras": "text encoders"}
"""Attribute with the layers of a part -> the part."""

_MOST_SIZES = 4


def layers_by_part(network: Any) -> dict[str, Sequence[Any] | None]:
    """Attribute -> layers; None where the network does not tell."""
    return {attribute: getattr(network, attribute, None) for attribute in PARTS}


def layers_of(network: Any) -> list[Any]:
    """The layers of all parts; none where the network does not tell."""
    return [layer for of_part in layers_by_part(network).values() for layer in of_part or ()]


def describe_network(network: Any, groups: Iterable[Mapping[str, Any]]) -> str:
    """Layers of each part, their kinds and sizes, and how many numbers an optimizer trains."""
    by_part = layers_by_part(network)
    layers = layers_of(network)
    numbers = sum(parameter.numel() for group in groups for parameter in group["params"])
    parts = [f"{counted(len(found), 'layer')} in the {PARTS[name]}" for name, found in by_part.items() if found]
    texts = [*parts, _kinds(layers), *_sizes(layers), f"{numbers:,} numbers that are trained"]
    return ", ".join(text for text in texts if text)


def describe_groups(
    groups: Iterable[Mapping[str, Any]], descriptions: Iterable[str], default_rate: float | None
) -> str:
    """Each optimizer group with its learning rate.

    Args:
        default_rate: of groups that have none. None: the optimizer heeds no rates.
    """
    if default_rate is None:
        return f"{', '.join(descriptions)}; the optimizer takes steps of its own size, whatever the learning rate is"
    return ", ".join(
        f"{description} (learning rate {float(group.get('lr', default_rate)):g})"
        for group, description in zip(groups, descriptions, strict=False)
    )


def describe_layers(
    layers: Iterable[Any], groups: Iterable[Mapping[str, Any]], descriptions: Iterable[str]
) -> Iterator[str]:
    """A line for each layer: name, kind, shape of its weight, size of the change, and what trains it."""
    group_of = {
        id(parameter): description
        for group, description in zip(groups, descriptions, strict=True)
        for parameter in group["params"]
    }
    for layer in layers:
        names = dict.fromkeys(group_of[id(weight)] for weight in layer.parameters() if id(weight) in group_of)
        trained = f"trained as {' and '.join(names)}" if names else "not trained"
        facts = [_kind(layer), "x".join(map(str, layer.layer.weight.shape)), _size(layer), trained]
        yield f"{layer.lora_name}: {', '.join(fact for fact in facts if fact)}"


def _kinds(layers: Iterable[Any]) -> str:
    return " and ".join(dict.fromkeys(map(_kind, layers)))


def _kind(layer: Any) -> str:
    name = type(layer).__name__.removesuffix("Layer").removesuffix("Module")
    return f"{name} with DoRA" if getattr(layer, "decomposition", None) is not None else name


def _sizes(layers: Iterable[Any]) -> list[str]:
    """The most frequent ones first; with the number of layers where there are several."""
    frequency = Counter(size for size in map(_size, layers) if size)
    if len(frequency) < 2:
        return list(frequency)
    sizes = [f"{size} ({counted(number, 'layer')})" for size, number in frequency.most_common()]
    return [listed(sizes, _MOST_SIZES)]


def _size(layer: Any) -> str:
    """Rank and alpha, or the blocks of a rotation; nothing where the size is that of the layer."""
    rank, alpha = _number(getattr(layer, "lora_dim", None)), _number(getattr(layer, "alpha", None))
    blocks = getattr(layer, "oft_blocks", None)
    if isinstance(blocks, torch.Tensor) and blocks.ndim > 2:
        return f"{counted(blocks.shape[-3], 'block')} of {blocks.shape[-1]}x{blocks.shape[-1]}"
    if rank is None:
        return ""
    return f"rank {rank:g}" if alpha is None else f"rank {rank:g} and alpha {alpha:g}"


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.numel() == 1)
    return float(value) if is_number else None
