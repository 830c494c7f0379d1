"""DyLoRA: LoRA that may be cut down to a lower rank after training (Valipour et al. 2022, arXiv 2210.07558)."""

import dataclasses
import math
from typing import Any, Self

import torch
from torch import nn

from library.errors import UserError
from networks.kinds.construction import dropouts_of
from networks.kinds.lora import LoRALayer
from networks.layers.dropouts import NO_DROPOUT, Dropouts
from networks.layers.low_rank_starts import Factors
from networks.targeting.targets import LayerSize, Target


class DyLoRALayer(LoRALayer):
    """LoRA in which each forward pass of training draws the rank b that it computes with: the ranks up to b take
    part, the last block of them is trained (the paper's "frozen" variant), and what there is is scaled by
    sqrt(rank / b). Once it is not in training, it is LoRA of full rank, and so are its files.

    Attributes:
        unit: ranks in a block.
    """

    def __init__(
        self,
        name: str,
        layer: nn.Linear | nn.Conv2d,
        rank: int,
        alpha: float | None = None,
        multiplier: float = 1.0,
        dropouts: Dropouts = NO_DROPOUT,
        unit: int = 1,
        **keywords: Any,
    ):
        """
        Raises:
            UserError: the rank is not a multiple of the unit.
        """
        super().__init__(name, layer, rank, alpha, multiplier, dropouts, **keywords)
        self._train_in_units_of(unit)

    @classmethod
    def build(cls, target: Target, size: LayerSize, arguments: Any, multiplier: float) -> Self:
        dropouts = dataclasses.replace(dropouts_of(arguments), rank=0.0)
        return cls(target.name, target.layer, size.rank, size.alpha, multiplier, dropouts, arguments.unit)

    def continue_with(self, arguments: Any) -> None:
        super().continue_with(arguments)
        self.dropouts = dataclasses.replace(self.dropouts, rank=0.0)
        self._train_in_units_of(getattr(arguments, "unit", 1))

    def _train_in_units_of(self, unit: int) -> None:
        if self.lora_dim % unit:
            raise UserError(
                f"--network_args unit={unit}: {self.lora_name} has the rank {self.lora_dim}, which must be a multiple "
                "of it"
            )
        self.unit = unit

    def live_factors(self) -> Factors:
        """In training, those of a rank drawn on the CPU, where knowing it costs no wait for the device."""
        down, up = self.factors()
        if not self.training:
            return down, up
        first = self.unit * int(torch.randint(self.lora_dim // self.unit, ()))
        rank = first + self.unit
        return (
            torch.cat([down[:first].detach(), down[first:rank]]),
            torch.cat([up[:, :first].detach(), up[:, first:rank]], 1) * math.sqrt(self.lora_dim / rank),
        )

    def can_share_projection(self) -> bool:
        return False
