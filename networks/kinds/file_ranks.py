"""The rank of a layer, as its tensors in a file have it."""

from collections.abc import Mapping

from networks.layers.adapted_layer import Tensors

_RANK_AXES: Mapping[str, int] = {
    "lora_down.weight": 0,
    "hada_w1_b": 0,
    "lokr_w2_b": 0,
    "lokr_w1_b": 0,
    "a2.weight": 0,
}
"""Suffix -> the axis of its tensor that is as long as the rank; the first that a layer has counts."""


def rank_in_file(tensors: Tensors) -> int | None:
    """None for what has no rank."""
    return next((tensors[suffix].shape[axis] for suffix, axis in _RANK_AXES.items() if suffix in tensors), None)
