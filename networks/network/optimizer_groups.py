"""Which parameters are trained at which rate."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from networks.layers.adapted_layer import AdaptedLayer


@dataclass(frozen=True)
class RateRules:
    """What --network_args say about learning rates."""

    unet_plus_ratio: float | None = None
    """LoRA+: how much faster what starts at zero is trained than the rest"""
    text_encoder_plus_ratio: float | None = None
    block_factors: Sequence[float] | None = None
    """of the U-Net's blocks; None = all the same, in one group"""
    blocks: Mapping[str, int] = field(default_factory=dict)
    """layer name -> number of its block in the U-Net"""
    layer_rates: Mapping[str, float] = field(default_factory=dict)
    """layer name -> its own rate, whatever that of its part is (network_reg_lrs)"""


@dataclass(frozen=True)
class RatedLayers:
    """Layers that are trained at one rate."""

    description: str
    layers: Sequence[AdaptedLayer]
    rate: float
    plus_ratio: float | None


Groups = tuple[list[dict[str, Any]], list[str]]
"""For the optimizer, and the description of each."""


def parts_with_own_rates(
    description: str, layers: Sequence[AdaptedLayer], plus_ratio: float | None, rules: RateRules
) -> tuple[list[RatedLayers], list[AdaptedLayer]]:
    """What has a rate of its own, a part for each rate; and the other layers."""
    by_rate: dict[float, list[AdaptedLayer]] = {}
    others: list[AdaptedLayer] = []
    for layer in layers:
        rate = rules.layer_rates.get(layer.lora_name)
        (others if rate is None else by_rate.setdefault(rate, [])).append(layer)
    parts = [RatedLayers(f"{description} at {rate:g}", of_rate, rate, plus_ratio) for rate, of_rate in by_rate.items()]
    return parts, others


def unet_parts(layers: Sequence[AdaptedLayer], rate: float, rules: RateRules) -> Iterable[RatedLayers]:
    """The U-Net's layers as one, or block by block if blocks have rates of their own; and those with own rates.

    Blocks come in the order of their layers, which has the middle last in SD 1.x and 2.x.
    """
    apart, layers = parts_with_own_rates("unet", layers, rules.unet_plus_ratio, rules)
    yield from apart
    if rules.block_factors is None:
        yield RatedLayers("unet", layers, rate, rules.unet_plus_ratio)
        return
    for block in dict.fromkeys(rules.blocks[layer.lora_name] for layer in layers):
        of_block = [layer for layer in layers if rules.blocks[layer.lora_name] == block]
        yield RatedLayers(f"unet_block{block}", of_block, rate * rules.block_factors[block], rules.unet_plus_ratio)


def build_groups(parts: Iterable[RatedLayers]) -> Groups:
    """Optimizer groups: one for each part, and one more for what LoRA+ trains faster.

    What has the rate 0 is frozen, so that its gradients are neither computed nor counted when gradients are clipped.
    """
    groups: list[dict[str, Any]] = []
    descriptions: list[str] = []
    for part in parts:
        for suffix, parameters, ratio in _split(part):
            for parameter in parameters:
                parameter.requires_grad_(bool(part.rate))
            if parameters and part.rate:
                groups.append({"params": parameters, "lr": part.rate * ratio})
                descriptions.append(part.description + suffix)
    return groups, descriptions


def _split(part: RatedLayers) -> Iterable[tuple[str, list[nn.Parameter], float]]:
    """(end of the description, parameters, factor of the rate)"""
    trained = [parameter for layer in part.layers for parameter in layer.trained_parameters()]
    if not part.plus_ratio:
        yield "", trained, 1.0
        return
    fast = [parameter for layer in part.layers for parameter in layer.plus_parameters()]
    is_fast = set(map(id, fast))
    yield "", [parameter for parameter in trained if id(parameter) not in is_fast], 1.0
    yield " plus", fast, part.plus_ratio
