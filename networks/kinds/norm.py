"""Changes of the weight and bias of normalisation layers (train_norm=True)."""

from typing import Any, ClassVar, Self

import torch
from torch import nn
from torch.nn import functional

from library.errors import UserError
from networks.kinds.construction import dropouts_of
from networks.layers.adapted_layer import AdaptedLayer, Tensors
from networks.layers.dropouts import NO_DROPOUT, Dropouts
from networks.targeting.targets import LayerSize, Target

WEIGHT, BIAS = "w_norm", "b_norm"


def is_norm(layer: nn.Module) -> bool:
    return isinstance(layer, nn.GroupNorm | nn.LayerNorm)


class NormLayer(AdaptedLayer):
    """delta weight = w_norm, delta bias = b_norm, both (channels,) and zero at the start."""

    SUFFIXES: ClassVar = frozenset({WEIGHT, BIAS})

    def __init__(
        self,
        name: str,
        layer: nn.GroupNorm | nn.LayerNorm,
        multiplier: float = 1.0,
        dropouts: Dropouts = NO_DROPOUT,
    ):
        super().__init__(name, layer, multiplier, dropouts)
        if layer.weight is None:
            raise UserError(
                f"{name}: a normalisation without weights, of which nothing can be trained; use exclude_patterns to "
                "leave it out"
            )
        self.w_norm = nn.Parameter(torch.zeros(layer.weight.shape))
        has_bias = layer.bias is not None
        self.register_parameter(BIAS, nn.Parameter(torch.zeros(layer.bias.shape)) if has_bias else None)

    @classmethod
    def build(cls, target: Target, size: LayerSize, arguments: Any, multiplier: float) -> Self:
        return cls(target.name, target.layer, multiplier, dropouts_of(arguments))

    @classmethod
    def recognises(cls, tensors: Tensors) -> bool:
        return WEIGHT in tensors

    @classmethod
    def from_tensors(cls, name: str, layer: nn.Module, tensors: Tensors, multiplier: float = 1.0) -> Self:
        made = cls(name, layer, multiplier)
        made.load_tensors(tensors)
        return made

    def load_tensors(self, tensors: Tensors) -> None:
        """What a file leaves out of a bias's change is zero."""
        left_out = {} if self.b_norm is None else {BIAS: torch.zeros_like(self.b_norm)}
        super().load_tensors(left_out | dict(tensors))

    def hook_into_layer(self) -> None:
        is_stock = type(self.layer) in (nn.GroupNorm, nn.LayerNorm) and "forward" not in vars(self.layer)
        super().hook_into_layer()
        self._reads_weight = is_stock

    def delta_weight(self) -> torch.Tensor:
        return self.w_norm

    def delta_bias(self) -> torch.Tensor | None:
        return self.b_norm

    def adapted_output(self, x: torch.Tensor) -> torch.Tensor:
        """Small changes survive beside weights in half precision: the sum is computed with in that of the change."""
        weight = self.layer.weight + self.multiplier * self.w_norm
        bias = None if self.b_norm is None else self.layer.bias + self.multiplier * self.b_norm
        if torch.is_autocast_enabled(x.device.type):
            return self._compute(x, weight, bias)  # autocast has rules of its own for normalisation
        precision = torch.promote_types(x.dtype, weight.dtype)
        return self._compute(x.to(precision), weight, bias).to(x.dtype)

    def _compute(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if isinstance(self.layer, nn.GroupNorm):
            return functional.group_norm(x, self.layer.num_groups, weight, bias, self.layer.eps)
        return functional.layer_norm(x, self.layer.normalized_shape, weight, bias, self.layer.eps)

    def shrink(self, ratio: torch.Tensor) -> None:
        """The change of the bias is scaled with that of the weight, so that both remain one change."""
        for difference in self.parameters():
            difference.mul_(ratio)
