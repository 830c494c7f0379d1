"""Changes of full rank made of small factors: what LoHa, LoKr and GLoRA have in common."""

from typing import Any

import torch

from networks.layers.dropouts import rank_mask
from networks.layers.formed_changes import output_with_formed_change
from networks.layers.ranked_layer import RankedLayer


class FormedLayer(RankedLayer):
    """Base of the ranked kinds whose change is formed as a weight to compute with it.

    Rank dropout leaves out outputs of the change, drawn once a forward pass, as LyCORIS does: what the factors have in
    between are no ranks of the change. There is nothing else that could be dropped.
    """

    @property
    def weight_shape(self) -> torch.Size:
        """(out, in[, kernel height, kernel width])"""
        return self.layer.weight.shape

    def change(self, x: torch.Tensor) -> torch.Tensor:
        parameters = list(self.parameters())
        return output_with_formed_change(x, self._change_former(1.0), parameters, geometry=self.geometry())

    def adapted_output(self, x: torch.Tensor) -> torch.Tensor:
        form_change, parameters, layer = self._change_former(self.multiplier), list(self.parameters()), self.layer
        return output_with_formed_change(x, form_change, parameters, layer.weight, layer.bias, self.geometry())

    def scaled(self, factor: torch.Tensor) -> torch.Tensor:
        """The factor that carries the scale, alpha / rank, and the scalar: the smallest one, to cost the least."""
        return factor * (self.scale if self.scalar is None else self.scale * self.scalar)

    def kept_outputs(self) -> torch.Tensor | None:
        """Rank dropout's factor for each output of the change, (out, 1[, 1, 1]); None where nothing is dropped."""
        if not (self.training and self.dropouts.rank):
            return None
        like = next(self.parameters())
        uniform = torch.rand((self.weight_shape[0], *[1] * (len(self.weight_shape) - 1)), device=like.device)
        return rank_mask(uniform, self.dropouts.rank, self.dropouts.rank_is_scaled)

    def _change_former(self, strength: float) -> Any:
        """What forms the change at a strength; whatever is random is drawn here, once."""
        kept = self.kept_outputs()

        def form_change() -> torch.Tensor:
            delta = self.additive_delta()
            delta = self.decomposed(delta if kept is None else delta * kept)
            return delta if strength == 1 else strength * delta

        return form_change
