"""LoRA: low-rank changes (Hu et al. 2021, arXiv 2106.09685); with 3x3 convolutions also known as LoCon."""

from typing import Any, ClassVar, Self

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from library.errors import UserError
from networks.kinds.construction import alpha_of, dropouts_of
from networks.layers.adapted_layer import Tensors
from networks.layers.decomposed_functions import decomposed_convolution, decomposed_linear
from networks.layers.dropouts import NO_DROPOUT, Dropouts, inner_mask
from networks.layers.low_rank_functions import low_rank_convolution, low_rank_linear
from networks.layers.low_rank_starts import Factors, orthogonal_factors, principal_factors, start_uniform
from networks.layers.ranked_layer import MAGNITUDE, Decomposition, RankedLayer, decomposition_of
from networks.layers.shared_projection import SharedProjection
from networks.layers.weight_norms import column_norms, column_squares, row_norms, row_squares
from networks.targeting.targets import LayerSize, Target

DOWN, MID, UP = "lora_down.weight", "lora_mid.weight", "lora_up.weight"


class Factor(nn.Module):
    """A matrix or kernel that files call `<name of the factor>.weight`."""

    def __init__(self, *shape: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))


class LoRALayer(RankedLayer):
    """delta W = alpha / rank * up @ down; `up` starts at zero, so that training starts from the base model.

    Shapes: down (rank, in[, kh, kw]), up (out, rank[, 1, 1]). In tucker form, the kernel is in a factor of its own:
    down (rank, in, 1, 1), mid (rank, rank, kh, kw). With a scalar, that starts at zero instead of `up`.
    """

    SUFFIXES: ClassVar = frozenset({DOWN, MID, UP, "alpha", MAGNITUDE})
    SCALED: ClassVar = (UP,)

    def __init__(
        self,
        name: str,
        layer: nn.Linear | nn.Conv2d,
        rank: int,
        alpha: float | None = None,
        multiplier: float = 1.0,
        dropouts: Dropouts = NO_DROPOUT,
        decomposition: Decomposition | None = None,
        has_mid: bool = False,
        has_scalar: bool = False,
    ):
        super().__init__(name, layer, rank, alpha, multiplier, dropouts, decomposition, has_scalar)
        outputs, inputs, *kernel = layer.weight.shape
        pixel = [1 for _ in kernel]
        self.lora_down = Factor(rank, inputs, *(pixel if has_mid else kernel))
        self.lora_mid = Factor(rank, rank, *kernel) if has_mid else None
        self.lora_up = Factor(outputs, rank, *pixel)
        self._projection: tuple[SharedProjection, int] | None = None
        self._squares: torch.Tensor | None = None
        start_uniform(self.lora_down.weight)
        if self.lora_mid is not None:
            start_uniform(self.lora_mid.weight)
        if has_scalar:
            start_uniform(self.lora_up.weight)
        else:
            nn.init.zeros_(self.lora_up.weight)

    @classmethod
    def build(cls, target: Target, size: LayerSize, arguments: Any, multiplier: float) -> "LoRALayer":
        kind = PrincipalLoRALayer if arguments.init == "pissa" else cls
        made = kind(
            target.name,
            target.layer,
            size.rank,
            alpha_of(size, arguments),
            multiplier,
            dropouts_of(arguments),
            Decomposition.of_arguments(arguments),
            has_mid=arguments.use_tucker and target.is_spatial,
            has_scalar=arguments.use_scalar,
        )
        if arguments.init == "orthogonal":
            made.start_from(orthogonal_factors(made.lora_down.weight.shape, made.lora_up.weight.shape))
        return made

    @classmethod
    def recognises(cls, tensors: Tensors) -> bool:
        return DOWN in tensors and UP in tensors

    @classmethod
    def from_tensors(cls, name: str, layer: nn.Module, tensors: Tensors, multiplier: float = 1.0) -> Self:
        made = cls(
            name,
            layer,
            len(tensors[DOWN]),
            multiplier=multiplier,
            decomposition=decomposition_of(tensors),
            has_mid=MID in tensors,
        )
        made.load_tensors(tensors)
        return made

    @torch.no_grad()
    def start_from(self, factors: Factors) -> None:
        self.lora_down.weight.copy_(factors[0])
        self.lora_up.weight.copy_(factors[1])

    def factors(self) -> Factors:
        """down (rank, in[, kh, kw]) and up (out, rank[, 1, 1]) with whatever else is trained multiplied in:
        delta W = alpha / rank * up @ down."""
        down, up = self.lora_down.weight, self.lora_up.weight
        if self.lora_mid is not None:
            down = torch.einsum("mnhw,ni->mihw", self.lora_mid.weight, down.flatten(1))
        return down, up if self.scalar is None else up * self.scalar

    def live_factors(self) -> Factors:
        """What the forward pass computes with."""
        return self.factors()

    def additive_delta(self) -> torch.Tensor:
        down, up = self.factors()
        return self.scale * (up.flatten(1) @ down.flatten(1)).view(self.layer.weight.shape)

    def adapted_output(self, x: torch.Tensor) -> torch.Tensor:
        if self.decomposition is not None:
            output = self._decomposed_output(x)
            return output if self.multiplier == 1 else torch.lerp(self._base_output(x), output, self.multiplier)
        weight, bias, scale = self.layer.weight, self.layer.bias, self.multiplier * self.scale
        down, up = self.live_factors()
        mask, geometry = self._mask(x, len(down)), self.geometry()
        if geometry is not None:
            return low_rank_convolution(x, weight, bias, down, up, scale, geometry, mask)
        return low_rank_linear(x, weight, bias, down, up, scale, mask, shared=self._shared_values(x))

    def _shared_values(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """x and x down^T where they are computed together with those of other layers."""
        if self._projection is None or torch.compiler.is_compiling():  # compiled blocks share their graphs
            return None
        shared, place = self._projection
        return shared.project(place, x)

    def _decomposed_output(self, x: torch.Tensor) -> torch.Tensor:
        """At strength 1."""
        down, up = self.live_factors()
        mask, weight, bias = self._mask(x, len(down)), self.layer.weight, self.layer.bias
        factor = self._magnitude_factor(self._weight_squares(), down, up)
        per_input = self.decomposition.per_input
        geometry = self.geometry()
        if geometry is not None:
            return decomposed_convolution(x, weight, bias, down, up, self.scale, factor, per_input, geometry, mask)
        return decomposed_linear(x, weight, bias, down, up, self.scale, factor, per_input, mask)

    def change(self, x: torch.Tensor) -> torch.Tensor:
        down, up = self.live_factors()
        mask = self._mask(x, len(down))
        if self.decomposition is None:
            return self._product(x, down, up, mask)
        # with norm_gradient, autograd would keep the weight, which is another one each time if it is in eight bits
        inputs = self._weight_squares(), down, up
        factor = checkpoint(self._magnitude_factor, *inputs, use_reentrant=False, preserve_rng_state=False)
        factor = factor.view((-1,) if factor.ndim == 2 else (1, -1, 1, 1))
        less, factor = (factor - 1).to(x.dtype), factor.to(x.dtype)
        if self.decomposition.per_input:
            return self._base_product(x * less) + self._product(x * factor, down, up, mask)
        return self._base_product(x) * less + self._product(x, down, up, mask) * factor

    def _base_product(self, x: torch.Tensor) -> torch.Tensor:
        """x W^T. A weight in eight bits is expanded anew for the backward pass instead of being kept for it."""

        def compute(x: torch.Tensor) -> torch.Tensor:
            return self._compute(x, self.base_weight().to(x.dtype), None)

        return checkpoint(compute, x, use_reentrant=False, preserve_rng_state=False)

    def _product(
        self, x: torch.Tensor, down: torch.Tensor, up: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """scale * ((x down^T) * mask) up^T"""
        inner = self._compute(x, down.to(x.dtype), None)
        inner = inner * self.scale if mask is None else inner * (mask * self.scale)
        apply_up = functional.conv2d if up.ndim == 4 else functional.linear
        return apply_up(inner, up.to(x.dtype))

    def _base_output(self, x: torch.Tensor) -> torch.Tensor:
        return self._compute(x, self.layer.weight, self.layer.bias)

    def _weight_squares(self) -> torch.Tensor:
        """Of the base weight's norms: (1, in[, 1, 1]) or (out, 1[, 1, 1]), float32 at least. Computed once."""
        if self._squares is None or self._squares.device != self.layer.weight.device:
            squares_of = column_squares if self.decomposition.per_input else row_squares
            self._squares = squares_of(self.base_weight())  # no buffer: not to be rounded with the network's weights
        return self._squares

    def _magnitude_factor(self, squares: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """magnitude / norm(V), in the shape of the squares, which are those of the weight."""
        norms_of = column_norms if self.decomposition.per_input else row_norms
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.decomposition.norm_gradient):
            norms = norms_of(squares, self.base_weight(), down, up, self.scale)
        return self.dora_scale / norms

    def _mask(self, x: torch.Tensor, rank: int) -> torch.Tensor | None:
        """What the values between the factors are multiplied with while training: (..., rank) or (batch, rank, h, w),
        or what broadcasts to it."""
        if not self.training:
            return None
        geometry = self.geometry()
        if geometry is None:
            return inner_mask(self.dropouts, (*x.shape[:-1], rank), -1, x.dtype, x.device)
        shape = (len(x), rank, *geometry.output_size(x.shape[2:], self.layer.kernel_size))
        return inner_mask(self.dropouts, shape, 1, x.dtype, x.device)

    def can_share_projection(self) -> bool:
        """Whether x down^T may be computed together with that of other layers; known once the layer is hooked into."""
        return (
            self._reads_weight
            and isinstance(self.layer, nn.Linear)
            and self.decomposition is None
            and not self.dropouts.module
        )

    def share_projection(self, shared: SharedProjection, place: int) -> None:
        """From now on x down^T is that of a member of `shared`, whose factor must be this layer's."""
        self._projection = shared, place

    def continue_with(self, arguments: Any) -> None:
        """
        Raises:
            UserError: init is given, or a split that the file does not have.
        """
        super().continue_with(arguments)
        if getattr(arguments, "init", "default") != "default":
            raise UserError(f"--network_args init={arguments.init}: training goes on from a file; leave it out")
        if getattr(arguments, "use_tucker", False) and self._could_have_mid() and self.lora_mid is None:
            raise UserError("--network_args use_tucker=True: the file's convolutions are not split so; leave it out")

    def _could_have_mid(self) -> bool:
        return isinstance(self.layer, nn.Conv2d) and self.layer.kernel_size != (1, 1)

    def plus_parameters(self) -> list[nn.Parameter]:
        return [self.lora_up.weight]

    def delta_norm(self) -> torch.Tensor:
        """From the factors' Gram matrices: |up down|^2 = sum of (up^T up) * (down down^T)."""
        down, up = (factor.flatten(1) for factor in self.factors())
        return self.scale * torch.sum((up.T @ up) * (down @ down.T)).clamp(min=0).sqrt()

    def shrink(self, ratio: torch.Tensor) -> None:
        root = ratio.sqrt()
        self.lora_up.weight.mul_(root)
        self.lora_down.weight.mul_(root)


class PrincipalLoRALayer(LoRALayer):
    """LoRA that starts from the weight's largest singular vectors (PiSSA; Meng et al. 2024, arXiv 2404.02948).

    The base weight stays as it is, and what the factors start with is taken off:
        delta W = alpha / rank * (up @ down - up_0 @ down_0).
    That is a LoRA of twice the rank:  [up - up_0, up_0] @ [down; down - down_0].  Files hold it in this form, and it
    is computed with, because half precision rounds the small differences as finely as they need, which it would not
    do with two large products to be subtracted.

    Attributes:
        start_down, start_up: down_0, up_0.
    """

    start_down: torch.Tensor
    start_up: torch.Tensor

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, **keywords)
        down, up = principal_factors(self.base_weight(), self.lora_dim, self.scale)
        self.start_from((down, up))
        self.register_buffer("start_down", self.lora_down.weight.detach().clone())
        self.register_buffer("start_up", self.lora_up.weight.detach().clone())

    def factors(self) -> Factors:
        down, up = self.lora_down.weight, self.lora_up.weight
        return torch.cat([down, down - self.start_down]), torch.cat([up - self.start_up, self.start_up], 1)

    def _mask(self, x: torch.Tensor, rank: int) -> torch.Tensor | None:
        """What is dropped of one half is dropped of the other."""
        mask = super()._mask(x, rank // 2)
        return None if mask is None else torch.cat([mask, mask], 1 if isinstance(self.layer, nn.Conv2d) else -1)

    def can_share_projection(self) -> bool:
        return False

    def file_tensors(self) -> dict[str, torch.Tensor]:
        down, up = self.factors()
        own = {name: tensor for name, tensor in super().file_tensors().items() if not name.startswith("start_")}
        return own | {DOWN: down.detach(), UP: up.detach(), "alpha": 2 * self.alpha}

    def load_tensors(self, tensors: Tensors) -> None:
        """The start is taken over together with what it became."""
        rank = len(tensors.get(DOWN, ()))
        if rank != 2 * self.lora_dim or UP not in tensors or "alpha" not in tensors:
            raise UserError(
                f"{self.lora_name}.{DOWN} has the rank {rank}; networks with --network_args init=pissa have twice "
                f"their rank in files, which is {2 * self.lora_dim} here"
            )
        (down, moved_down), (moved_up, start_up) = tensors[DOWN].float().chunk(2), tensors[UP].float().chunk(2, 1)
        halves = {DOWN: down, UP: moved_up + start_up, "start_down": down - moved_down, "start_up": start_up}
        super().load_tensors({**tensors, **halves, "alpha": tensors["alpha"] / 2})

    def shrink(self, ratio: torch.Tensor) -> None:
        """Of the change only what is linear in the factors' movements, which are small beside the start."""
        self.lora_up.weight.lerp_(self.start_up, 1 - ratio)
        self.lora_down.weight.lerp_(self.start_down, 1 - ratio)
