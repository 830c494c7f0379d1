"""Layers that get the same input compute its projections together."""

import re
from collections.abc import Iterable, Sequence

from networks.kinds.lora import LoRALayer
from networks.layers.adapted_layer import AdaptedLayer
from networks.layers.shared_projection import SharedProjection

_SHARING_NAMES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<attention>.+_attn1)_to_(?P<role>[qkv])",
        r"(?P<attention>.+_attn2)_to_(?P<role>[kv])",  # the query of cross-attention comes from elsewhere
        r"(?P<attention>.+_self_attn)_(?P<role>[qkv])_proj",
    )
)
"""Key names of layers; those of one attention share their input, and run in the order query, key, value."""


def siblings(names: Iterable[str]) -> list[list[str]]:
    """Groups of at least two layers, by key name, that get the same input; each in the order in which they run."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        for pattern in _SHARING_NAMES:
            match = pattern.fullmatch(name)
            if match:
                groups.setdefault(match["attention"], []).append(("qkv".index(match["role"]), name))
    return [[name for _, name in sorted(group)] for group in groups.values() if len(group) > 1]


def share_inputs(layers: Sequence[AdaptedLayer]) -> None:
    """Lets layers that get the same input share what they compute from it alone. They must be hooked in already."""
    able = {layer.lora_name: layer for layer in layers if isinstance(layer, LoRALayer) and layer.can_share_projection()}
    for names in siblings(able):
        shared = SharedProjection([able[name].lora_down.weight for name in names])
        for place, name in enumerate(names):
            able[name].share_projection(shared, place)
