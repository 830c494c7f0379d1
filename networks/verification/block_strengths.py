"""How strongly a network changes each block of a model."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

_BLOCK = re.compile(
    r"lora_(?:unet_(?P<unet>(?:down_blocks|up_blocks|input_blocks|output_blocks)_\d+|mid_block|middle_block)"
    r"|(?P<text>te[12]?)_text_model_encoder_layers_\d+)_"
)
_TEXT_ENCODERS = {"te": "text encoder", "te1": "text encoder 1", "te2": "text encoder 2"}
ELSEWHERE = "other layers"


@dataclass(frozen=True)
class LayerNorms:
    name: str
    change: float
    """Frobenius norm of the weight change"""
    weight: float
    """of the base model's weight"""

    @property
    def relative(self) -> float:
        return self.change / self.weight if self.weight else math.inf


@dataclass(frozen=True)
class BlockStrength:
    block: str
    layers: int
    relative: float
    """norm of all changes of the block over the norm of all its weights that are changed"""
    strongest: LayerNorms


def block_of_name(layer_name: str) -> str:
    """Where in the model a layer is, told by its name in a file."""
    match = _BLOCK.match(layer_name)
    if match is None:
        return ELSEWHERE
    return match["unet"] or _TEXT_ENCODERS[match["text"]]


def strengths_by_block(layers: Iterable[LayerNorms]) -> list[BlockStrength]:
    """In the order in which the blocks' first layers come."""
    blocks: dict[str, list[LayerNorms]] = {}
    for layer in layers:
        blocks.setdefault(block_of_name(layer.name), []).append(layer)
    return [
        BlockStrength(block, len(of_block), _relative(of_block), max(of_block, key=lambda layer: layer.relative))
        for block, of_block in blocks.items()
    ]


def _relative(layers: Iterable[LayerNorms]) -> float:
    pairs = [(layer.change, layer.weight) for layer in layers]
    change, weight = (math.hypot(*numbers) for numbers in zip(*pairs, strict=True))
    return change / weight if weight else math.inf
