"""(IA)^3: outputs or inputs of a layer are scaled (Liu et al. 2022, arXiv 2205.05638)."""

import re
from typing import Any, ClassVar, Self

import torch
from torch import nn

from library.errors import UserError
from networks.kinds.construction import dropouts_of
from networks.kinds.output_change import OutputChangeLayer
from networks.layers.adapted_layer import Tensors
from networks.layers.computing_precision import HALF_PRECISIONS, computing_precision, in_computing_precision
from networks.layers.dropouts import NO_DROPOUT, Dropouts
from networks.layers.summed_products import summed
from networks.targeting.targets import LayerSize, Target

WEIGHT, ON_INPUT = "weight", "on_input"

_LAST_OF_FEED_FORWARD = re.compile(r"(^|\.)(ff\.net\.2|mlp\.fc2)$")
"""Paths of the layers whose inputs are scaled: those are what the paper scales in feed-forward blocks."""


class IA3Layer(OutputChangeLayer):
    """W' = W * (1 + w), with a w for each output or each input, zero at the start. The bias is not scaled.

    Attributes:
        weight: w; (out,) or (in,), for convolutions (1, out, 1, 1) or (1, in, 1, 1).
        on_input: 1 if w scales inputs, else 0; saved with the weights.
    """

    SUFFIXES: ClassVar = frozenset({WEIGHT, ON_INPUT})

    on_input: torch.Tensor

    def __init__(
        self,
        name: str,
        layer: nn.Linear | nn.Conv2d,
        on_input: bool,
        multiplier: float = 1.0,
        dropouts: Dropouts = NO_DROPOUT,
    ):
        super().__init__(name, layer, multiplier, dropouts)
        count = layer.weight.shape[1 if on_input else 0]
        self.scales_input = on_input
        self.weight = nn.Parameter(torch.zeros(1, count, 1, 1) if self._is_convolution else torch.zeros(count))
        self.register_buffer(ON_INPUT, torch.tensor(int(on_input)))

    @classmethod
    def build(cls, target: Target, size: LayerSize, arguments: Any, multiplier: float) -> Self:
        on_input = arguments.train_on_input
        if on_input is None:
            on_input = _LAST_OF_FEED_FORWARD.search(target.path) is not None
        return cls(target.name, target.layer, on_input, multiplier, dropouts_of(arguments))

    @classmethod
    def recognises(cls, tensors: Tensors) -> bool:
        return WEIGHT in tensors and ON_INPUT in tensors

    @classmethod
    def from_tensors(cls, name: str, layer: nn.Module, tensors: Tensors, multiplier: float = 1.0) -> Self:
        made = cls(name, layer, bool(tensors[ON_INPUT]), multiplier)
        made.load_tensors(tensors)
        return made

    def load_tensors(self, tensors: Tensors) -> None:
        if ON_INPUT in tensors and bool(tensors[ON_INPUT]) != self.scales_input:
            scaled = ("outputs", "inputs") if self.scales_input else ("inputs", "outputs")
            raise UserError(f"{self.lora_name}.{ON_INPUT}: the file scales {scaled[0]}, the network {scaled[1]}")
        super().load_tensors(tensors)

    def delta_weight(self) -> torch.Tensor:
        if not self.scales_input:
            return super().delta_weight()
        weight = self.base_weight()
        return weight * self.weight.to(torch.promote_types(weight.dtype, self.weight.dtype))

    def change_along(self, values: torch.Tensor, axis: int) -> torch.Tensor:
        factors = self.weight.view([-1 if place == axis % values.ndim else 1 for place in range(values.ndim)])
        return factors.to(values.dtype) * values

    def change(self, x: torch.Tensor) -> torch.Tensor:
        if not self.scales_input:
            return super().change(x)
        return self.base_product(self._scaled(x))

    def adapted_output(self, x: torch.Tensor) -> torch.Tensor:
        if not self.scales_input:
            return super().adapted_output(x)
        x, weight, bias = in_computing_precision(x, self.layer.weight, self.layer.bias)
        change = self.multiplier * self._scaled(x)
        if computing_precision(x) not in HALF_PRECISIONS:
            return self._compute(x + change, weight, bias)
        return summed([(x, weight), (change, weight)], bias, self.geometry())

    def _scaled(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight.to(computing_precision(x))

    def shrink(self, ratio: torch.Tensor) -> None:
        self.weight.mul_(ratio)
