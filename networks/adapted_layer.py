"""One layer of the model with its trainable change."""

from typing import Any

import torch
from torch import nn


class AdaptedLayer(nn.Module):
    """Base of all kinds: hooks into a layer and knows its weight change.

    Once applied, the layer computes  layer(x) + multiplier * change(x). The layer's own weights are untouched.

    Attributes:
        lora_name: what the tensors' names in a file begin with.
        lora_dim: rank.
        alpha: scalar tensor, saved with the weights; the change is scaled by alpha / rank.
        multiplier: strength; 1 in training.
    """

    alpha: torch.Tensor

    def __init__(self, name: str, layer: nn.Linear | nn.Conv2d, rank: int, alpha: float | None, multiplier: float):
        super().__init__()
        self.lora_name = name
        self.lora_dim = rank
        self.multiplier = multiplier
        self.register_buffer("alpha", torch.tensor(float(alpha or rank)))
        self.scale = float(self.alpha) / rank
        self._layer = (layer,)  # in a tuple: the layer belongs to the model, not to the network
        self._original_forward: Any = None
        self.register_load_state_dict_post_hook(_refresh_scale)

    @property
    def layer(self) -> nn.Linear | nn.Conv2d:
        return self._layer[0]

    def delta_weight(self) -> torch.Tensor:
        """The change of the layer's weight at strength 1, in the weight's shape: the definition of the kind."""
        raise TypeError(f"{type(self).__name__} does not define its weight change")

    def change(self, x: torch.Tensor) -> torch.Tensor:
        """What the weight change adds to the layer's output at strength 1, computed without forming it."""
        raise TypeError(f"{type(self).__name__} does not define its forward pass")

    def hook_into_layer(self) -> None:
        """From now on the layer computes with the change. A network applied earlier stays in effect: both add up."""
        self._original_forward = self.layer.forward
        self.layer.forward = self.forward  # type: ignore[method-assign]

    def forward(self, x: torch.Tensor, *arguments: Any, **keywords: Any) -> torch.Tensor:
        output = self._original_forward(x, *arguments, **keywords)
        if self.multiplier == 0:
            return output
        return output + self.multiplier * self.change(x) if self.multiplier != 1 else output + self.change(x)

    @torch.no_grad()
    def merge(self, dtype: torch.dtype | None = None) -> None:
        """Adds the change to the layer's weight for good. The sum is formed in float32."""
        weight = self.layer.weight
        merged = weight.float() + self.multiplier * self.delta_weight().to(weight.device, torch.float32)
        weight.data = merged.to(dtype or weight.dtype)


def _refresh_scale(layer: Any, incompatible_keys: Any) -> None:
    """After loading, the scale must be that of the alpha in the file."""
    layer.scale = float(layer.alpha) / layer.lora_dim
