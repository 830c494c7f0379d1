"""Changes with a rank and an alpha, as they are or with the weight's magnitude trained beside them (DoRA)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import nn

from library.errors import UserError
from networks.layers.adapted_layer import AdaptedLayer, Tensors
from networks.layers.dropouts import NO_DROPOUT, Dropouts
from networks.layers.weight_norms import SMALLEST_NORM

MAGNITUDE = "dora_scale"
SCALAR = "scalar"


@dataclass(frozen=True)
class Decomposition:
    """How DoRA splits a weight into magnitude and direction (Liu et al. 2024, arXiv 2402.09353)."""

    per_input: bool = True
    """One magnitude for each input (columns of the weight, as the paper has it), or for each output."""
    norm_gradient: bool = False
    """Whether gradients flow through the norm; the paper (4.3) treats it as a constant."""

    @classmethod
    def of_arguments(cls, arguments: Any) -> Self | None:
        """What --network_args ask for; not all kinds have the arguments."""
        if not getattr(arguments, "dora_wd", False):
            return None
        return cls(per_input=not arguments.wd_on_output, norm_gradient=arguments.norm_gradient)


class RankedLayer(AdaptedLayer):
    """Base of the kinds whose change is  alpha / rank * (a product of factors).

    With a decomposition (DoRA) the weight becomes  magnitude * V / norm(V),  V = W + that change.

    Attributes:
        lora_dim: rank.
        alpha: scalar tensor, saved with the weights.
        scale: alpha / rank.
        dora_scale: the magnitudes, (1, in[, 1, 1]) or (out, 1[, 1, 1]), if there is a decomposition.
        scalar: trained factor of the change that starts at zero, or None. Files have it multiplied into a factor.
    """

    SCALED: ClassVar[tuple[str, ...]] = ()
    """The factor that takes up the scalar in a file; of several names, the one that is there."""

    EXACT: ClassVar = ("alpha", MAGNITUDE)

    alpha: torch.Tensor

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
        super().__init__(name, layer, multiplier, dropouts)
        self.register_parameter(SCALAR, nn.Parameter(torch.zeros(())) if has_scalar else None)
        self.lora_dim = rank
        self.register_buffer("alpha", torch.tensor(float(alpha or rank)))
        self.scale = float(self.alpha) / rank
        self.decomposition = decomposition
        if decomposition is not None:
            norms = weight_norms(self.base_weight(), decomposition.per_input)
            place = norms.device if norms.is_meta else self.alpha.device  # that of the other parameters
            self.dora_scale = nn.Parameter(norms.to(place))
        self.register_load_state_dict_post_hook(_refresh_scale)

    def additive_delta(self) -> torch.Tensor:
        """The change before any decomposition, alpha / rank * the product, in the weight's shape."""
        raise NotImplementedError(type(self).__name__)

    def delta_weight(self) -> torch.Tensor:
        return self.decomposed(self.additive_delta())

    def decomposed(self, delta: torch.Tensor) -> torch.Tensor:
        """The change of the weight that an additive one comes to; it is the same if there is no decomposition."""
        if self.decomposition is None:
            return delta
        weight = self.base_weight().to(self.dora_scale.device, self.dora_scale.dtype)
        return decomposed_weight(weight, delta, self.dora_scale, self.decomposition) - weight

    def file_tensors(self) -> dict[str, torch.Tensor]:
        tensors = super().file_tensors()
        scalar = tensors.pop(SCALAR, None)
        if scalar is not None:
            factor = next(suffix for suffix in self.SCALED if suffix in tensors)
            tensors[factor] = tensors[factor] * scalar
        return tensors

    def load_tensors(self, tensors: Tensors) -> None:
        """Like every kind; and a decomposition takes over a file without one. Its magnitudes then begin at the norms of
        W + change, so that training goes on from the very weights of that file. Of a trained scalar, a file's factor
        already is the product: the scalar goes on from 1.

        Convolutions of one pixel and linear layers hold the same numbers: which of the two a projection is differs
        between releases of the model code, and either is taken for the other.
        """
        own = self.state_dict()
        if self.scalar is not None:
            tensors = {SCALAR: torch.ones(())} | dict(tensors)
        given = {suffix: _in_shape(tensor, own.get(suffix, tensor).shape) for suffix, tensor in tensors.items()}
        begins = self.decomposition is not None and MAGNITUDE not in given
        super().load_tensors(given | {MAGNITUDE: self.dora_scale} if begins else given)
        if begins:
            with torch.no_grad():
                self.dora_scale.copy_(self._norms_with_change(self.decomposition))

    def continue_with(self, arguments: Any) -> None:
        """A file's magnitudes stay. Where it has none, and the arguments ask for them, they begin as in `load_tensors`.

        Raises:
            UserError: the file's magnitudes are those of inputs, and those of outputs are asked for.
        """
        super().continue_with(arguments)
        asked = Decomposition.of_arguments(arguments)
        if self.decomposition is None and asked is not None:
            self.dora_scale = nn.Parameter(self._norms_with_change(asked))
            self.decomposition = asked
        elif self.decomposition is not None:
            if asked is not None and self.decomposition.per_input and not asked.per_input:
                raise UserError("--network_args wd_on_output=True: the file has magnitudes of inputs; leave it out")
            norm_gradient = getattr(arguments, "norm_gradient", False)  # not all modules make DoRA, but files hold it
            self.decomposition = replace(self.decomposition, norm_gradient=norm_gradient)
        if getattr(arguments, "use_scalar", False) and self.scalar is None:
            self.scalar = nn.Parameter(torch.ones(()))

    @torch.no_grad()
    def _norms_with_change(self, decomposition: Decomposition) -> torch.Tensor:
        """Of W + the change before any decomposition: magnitudes with which the weight stays what it is."""
        delta = self.additive_delta()
        return weight_norms(self.base_weight().to(delta.device, delta.dtype) + delta, decomposition.per_input)

    def delta_norm(self) -> torch.Tensor:
        """Of the change before any decomposition."""
        return torch.linalg.vector_norm(self.additive_delta())


def decomposed_weight(
    weight: torch.Tensor, delta: torch.Tensor, magnitude: torch.Tensor, decomposition: Decomposition
) -> torch.Tensor:
    """magnitude * V / norm(V)  with V = weight + delta: the definition of DoRA."""
    direction = weight + delta
    norms = weight_norms(direction, decomposition.per_input)
    return direction * (magnitude / (norms if decomposition.norm_gradient else norms.detach()))


def weight_norms(weight: torch.Tensor, per_input: bool) -> torch.Tensor:
    """Norms of a weight (out, in[, kh, kw]) over everything but its inputs, (1, in[, 1, 1]), or outputs,
    (out, 1[, 1, 1]); float32 at least."""
    kept = 1 if per_input else 0
    others = [axis for axis in range(weight.ndim) if axis != kept]
    width = torch.promote_types(weight.dtype, torch.float32)
    return torch.linalg.vector_norm(weight, dim=others, keepdim=True, dtype=width).clamp(min=SMALLEST_NORM)


def decomposition_of(tensors: Mapping[str, torch.Tensor]) -> Decomposition | None:
    """How a file's tensors of one layer split the weight: only the shape of the magnitudes tells."""
    magnitude = tensors.get(MAGNITUDE)
    return None if magnitude is None else Decomposition(per_input=magnitude.shape[0] == 1)


def _in_shape(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """A tensor (a, b[, 1, 1]) with or without the kernel of one pixel, as `shape` has it; any other stays as it is."""
    if min(tensor.ndim, len(shape)) == 2 and tensor.numel() == shape.numel() and tensor.shape[:2] == shape[:2]:
        return tensor.reshape(shape)
    return tensor


def _refresh_scale(layer: Any, incompatible_keys: Any) -> None:
    """After loading, the scale must be that of the alpha in the file."""
    layer.scale = float(layer.alpha) / layer.lora_dim
