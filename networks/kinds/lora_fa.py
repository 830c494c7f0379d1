"""LoRA-FA: LoRA whose first factor stays as it was drawn (Zhang et al. 2023, arXiv 2308.03303)."""

import math
from typing import Any, Self

import torch
from torch import nn

from networks.kinds.construction import alpha_of, dropouts_of
from networks.kinds.lora import LoRALayer
from networks.targeting.targets import LayerSize, Target


class LoRAFALayer(LoRALayer):
    """LoRA in which only `up` is trained. Its files are those of LoRA.

    `down` is drawn as by kohya's networks.lora_fa: normal, with the variance 2 / (inputs + rank).
    """

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, **keywords)
        inputs = self.lora_down.weight.shape[1]
        nn.init.normal_(self.lora_down.weight, std=math.sqrt(2 / (inputs + self.lora_dim)))
        self.lora_down.weight.requires_grad_(False)

    @classmethod
    def build(cls, target: Target, size: LayerSize, arguments: Any, multiplier: float) -> Self:
        alpha = alpha_of(size, arguments)
        return cls(target.name, target.layer, size.rank, alpha, multiplier, dropouts_of(arguments))

    def trained_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter is not self.lora_down.weight]

    def shrink(self, ratio: torch.Tensor) -> None:
        self.lora_up.weight.mul_(ratio)
