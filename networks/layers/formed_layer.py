"""Changes of full rank made of small factors: what LoHa, LoKr and GLoRA have in common."""

from typing import Any, ClassVar

import torch
from torch import nn

from networks.layers.adapted_layer import Tensors
from networks.layers.convolution_geometry import ConvolutionGeometry
from networks.layers.dropouts import NO_DROPOUT, Dropouts, rank_mask
from networks.layers.formed_changes import output_with_formed_change
from networks.layers.ranked_layer import Decomposition, RankedLayer, decomposed_weight

SCALAR = "scalar"


class FormedLayer(RankedLayer):
    """Base of the ranked kinds whose change is formed as a weight to compute with it.

    Rank dropout leaves out outputs of the change, drawn once a forward pass, as LyCORIS does: what the factors have in
    between are no ranks of the change. There is nothing else that could be dropped.

    Attributes:
        scalar: trained factor of the change that starts at zero, or None. Files have it multiplied into a factor.
    """

    SCALED: ClassVar[tuple[str, ...]] = ()
    """The factor that takes up the scalar in a file; of several names, the one that is there."""

    def __init__(
        self,
        name: str,
        layer: nn.Module,
        rank: int,
        alpha: float | None = None,
        multiplier: float = 1.0,
        dropouts: Dropouts = NO_DROPOUT,
        decomposition: Decomposition | None = None,
        has_scalar: bool = False,
    ):
        super().__init__(name, layer, rank, alpha, multiplier, dropouts, decomposition)
        self.register_parameter(SCALAR, nn.Parameter(torch.zeros(())) if has_scalar else None)

    @property
    def weight_shape(self) -> torch.Size:
        """(out, in[, kernel height, kernel width])"""
        return self.layer.weight.shape

    def delta_weight(self) -> torch.Tensor:
        return self._decomposed(self.additive_delta())

    def change(self, x: torch.Tensor) -> torch.Tensor:
        return output_with_formed_change(x, self._change_former(1.0), self._leaves(), geometry=self._geometry())

    def adapted_output(self, x: torch.Tensor) -> torch.Tensor:
        form_change = self._change_former(self.multiplier)
        layer = self.layer
        return output_with_formed_change(x, form_change, self._leaves(), layer.weight, layer.bias, self._geometry())

    def file_tensors(self) -> dict[str, torch.Tensor]:
        tensors = super().file_tensors()
        scalar = tensors.pop(SCALAR, None)
        if scalar is not None:
            factor = next(suffix for suffix in self.SCALED if suffix in tensors)
            tensors[factor] = tensors[factor] * scalar
        return tensors

    def load_tensors(self, tensors: Tensors) -> None:
        """Of a trained scalar, a file's factor already is the product: the scalar goes on from 1."""
        if self.scalar is not None:
            tensors = {SCALAR: torch.ones(())} | dict(tensors)
        super().load_tensors(tensors)

    def continue_with(self, arguments: Any) -> None:
        super().continue_with(arguments)
        if getattr(arguments, "use_scalar", False) and self.scalar is None:
            self.scalar = nn.Parameter(torch.ones(()))

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
            delta = self._decomposed(delta if kept is None else delta * kept)
            return delta if strength == 1 else strength * delta

        return form_change

    def _decomposed(self, delta: torch.Tensor) -> torch.Tensor:
        if self.decomposition is None:
            return delta
        weight = self.base_weight().to(self.dora_scale.device, self.dora_scale.dtype)
        return decomposed_weight(weight, delta, self.dora_scale, self.decomposition) - weight

    def _leaves(self) -> list[nn.Parameter]:
        return list(self.parameters())

    def _geometry(self) -> ConvolutionGeometry | None:
        return ConvolutionGeometry.of(self.layer) if isinstance(self.layer, nn.Conv2d) else None
