"""LoKr: changes that are Kronecker products (Yeh et al. 2023, arXiv 2309.14859, section 3.2), as LyCORIS has them."""

import math
from typing import Any, ClassVar, Self

import torch
from torch import nn
from torch.nn import functional

from library.errors import UserError
from networks.kinds.construction import alpha_of, dropouts_of
from networks.kinds.kronecker_shapes import KroneckerShapes, plan_shapes, shapes_in
from networks.layers.adapted_layer import Tensors
from networks.layers.computing_precision import in_computing_precision
from networks.layers.dropouts import NO_DROPOUT, Dropouts
from networks.layers.formed_layer import FormedLayer
from networks.layers.low_rank_starts import start_uniform
from networks.layers.ranked_layer import MAGNITUDE, Decomposition, decomposition_of
from networks.layers.summed_products import summed
from networks.targeting.targets import LayerSize, Target

FIRST, SECOND = "lokr_w1", "lokr_w2"
FACTORS = (FIRST, f"{FIRST}_a", f"{FIRST}_b", SECOND, f"{SECOND}_a", f"{SECOND}_b")
CORE = "lokr_t2"


class LoKrLayer(FormedLayer):
    """delta W = alpha / rank * kron(w1, w2); w2, or its second factor, starts at zero.

    Each of the two is kept as it is, or as a product of two matrices. Shapes, with out = out_1 * out_2 and
    in = in_1 * in_2: w1 (out_1, in_1), or w1_a (out_1, rank) and w1_b (rank, in_1); w2 (out_2, in_2[, kernel height,
    kernel width]), or w2_a (out_2, rank) and w2_b (rank, in_2 * kernel height * kernel width).

    If both are kept as they are, nothing is scaled, and alpha is the rank.
    """

    SUFFIXES: ClassVar = frozenset({*FACTORS, CORE, "alpha", MAGNITUDE})
    SCALED: ClassVar = (FIRST, f"{FIRST}_a")

    def __init__(
        self,
        name: str,
        layer: nn.Linear | nn.Conv2d,
        rank: int,
        alpha: float | None = None,
        multiplier: float = 1.0,
        dropouts: Dropouts = NO_DROPOUT,
        decomposition: Decomposition | None = None,
        has_scalar: bool = False,
        shapes: KroneckerShapes | None = None,
    ):
        """
        Args:
            shapes: None = those that LyCORIS chooses by default.
        """
        shapes = shapes or plan_shapes(layer.weight.shape, rank)
        alpha = rank if shapes.rank is None else alpha
        super().__init__(name, layer, rank, alpha, multiplier, dropouts, decomposition, has_scalar)
        self.shapes = shapes
        self._add(FIRST, shapes.first, shapes.first_rank)
        self._add(SECOND, shapes.second, shapes.second_rank)
        if not has_scalar:
            nn.init.zeros_(self._starting_at_zero)

    def _add(self, name: str, shape: tuple[int, ...], rank: int | None) -> None:
        if rank is None:
            parts = {name: shape}
        else:
            parts = {f"{name}_a": (shape[0], rank), f"{name}_b": (rank, math.prod(shape[1:]))}
        for part, size in parts.items():
            factor = nn.Parameter(torch.empty(size))
            self.register_parameter(part, factor)
            start_uniform(factor)

    @property
    def _starting_at_zero(self) -> nn.Parameter:
        return self.lokr_w2 if self.shapes.second_rank is None else self.lokr_w2_b

    @classmethod
    def build(cls, target: Target, size: LayerSize, arguments: Any, multiplier: float) -> Self:
        shapes = plan_shapes(
            target.layer.weight.shape,
            size.rank,
            arguments.factor,
            arguments.decompose_both,
            arguments.full_matrix,
            arguments.unbalanced_factorization,
        )
        return cls(
            target.name,
            target.layer,
            size.rank,
            alpha_of(size, arguments),
            multiplier,
            dropouts_of(arguments),
            Decomposition.of_arguments(arguments),
            arguments.use_scalar,
            shapes,
        )

    @classmethod
    def recognises(cls, tensors: Tensors) -> bool:
        return all(factor in tensors or {f"{factor}_a", f"{factor}_b"} <= tensors.keys() for factor in (FIRST, SECOND))

    @classmethod
    def from_tensors(cls, name: str, layer: nn.Module, tensors: Tensors, multiplier: float = 1.0) -> Self:
        tensors = without_core(tensors)
        shapes = shapes_in(tensors, layer.weight.shape[2:])
        _check_fit(name, shapes, layer.weight.shape)
        rank = shapes.rank or max(1, round(float(tensors.get("alpha", 1))))
        made = cls(name, layer, rank, multiplier=multiplier, decomposition=decomposition_of(tensors), shapes=shapes)
        made.load_tensors({"alpha": made.alpha} | dict(tensors))
        return made

    def load_tensors(self, tensors: Tensors) -> None:
        """Of files in Tucker form, the core is multiplied into w2_b. Where nothing is scaled, alpha means nothing."""
        tensors = without_core(tensors)
        if self.shapes.rank is None and "alpha" in tensors:
            tensors |= {"alpha": self.alpha}
        super().load_tensors(tensors)

    def additive_delta(self) -> torch.Tensor:
        return torch.kron(self.scaled(self._first()), self._second()).view(self.weight_shape)

    def change(self, x: torch.Tensor) -> torch.Tensor:
        if not self._has_narrow_form:
            return super().change(x)
        inner, outer = in_computing_precision(self._inner(x), self._outer())
        return functional.conv2d(inner, outer[..., None, None]) if inner.ndim == 4 else functional.linear(inner, outer)

    def adapted_output(self, x: torch.Tensor) -> torch.Tensor:
        if not self._has_narrow_form or not self._reads_single_pixels:
            return super().adapted_output(x)
        inner, outer = self._inner(x), self.multiplier * self._outer()
        outer = outer.view(*outer.shape, *self.weight_shape[2:])  # for a convolution, a kernel of one pixel
        return summed([(x, self.layer.weight), (inner, outer)], self.layer.bias, self.geometry())

    def plus_parameters(self) -> list[nn.Parameter]:
        return [self._starting_at_zero if self.scalar is None else self.scalar]

    def delta_norm(self) -> torch.Tensor:
        """The norm of a Kronecker product is the product of the norms."""
        return torch.linalg.vector_norm(self.scaled(self._first())) * torch.linalg.vector_norm(self._second())

    def shrink(self, ratio: torch.Tensor) -> None:
        factors = [parameter for name, parameter in self.named_parameters() if name in FACTORS]
        root = ratio.pow(1 / len(factors))
        for factor in factors:
            factor.mul_(root)

    def _first(self) -> torch.Tensor:
        return self.lokr_w1 if self.shapes.first_rank is None else self.lokr_w1_a @ self.lokr_w1_b

    def _second(self) -> torch.Tensor:
        """(out_2, in_2 * kernel height * kernel width)"""
        return self.lokr_w2.flatten(1) if self.shapes.second_rank is None else self.lokr_w2_a @ self.lokr_w2_b

    @property
    def _has_narrow_form(self) -> bool:
        """Whether  kron(w1, w2_a @ w2_b) = kron(w1, w2_a) @ kron(1, w2_b)  is computed with less work as two products:
        then there are at most half as many values in between as there are inputs."""
        rank = self.shapes.second_rank
        is_plain = self.decomposition is None and getattr(self.layer, "groups", 1) == 1
        return is_plain and rank is not None and 2 * self.shapes.first[1] * rank <= self.weight_shape[1]

    @property
    def _reads_single_pixels(self) -> bool:
        """Whether what `_inner` returns has the pixels of the layer's input."""
        geometry = self.geometry()
        if geometry is None:
            return True
        return self.weight_shape[2:] == (1, 1) and geometry.stride == (1, 1) and geometry.padding == (0, 0)

    def _inner(self, x: torch.Tensor) -> torch.Tensor:
        """The product of x with  kron(1, w2_b),  which is w2_b with each of the in_1 parts of x:
        (..., in_1 * rank), or (batch, in_1 * rank, height, width)."""
        parts = self.shapes.first[1]
        x, second = in_computing_precision(x, self.lokr_w2_b)
        geometry = self.geometry()
        if geometry is None:
            return functional.linear(x.unflatten(-1, (parts, -1)), second).flatten(-2)
        kernels = second.view(len(second), -1, *self.weight_shape[2:])
        inner = geometry.convolve(x.unflatten(1, (parts, -1)).flatten(0, 1), kernels)
        return inner.unflatten(0, (-1, parts)).flatten(1, 2)

    def _outer(self) -> torch.Tensor:
        """alpha / rank * kron(w1, w2_a), (out, in_1 * rank)"""
        outer = torch.kron(self.scaled(self._first()), self.lokr_w2_a)
        kept = self.kept_outputs()
        return outer if kept is None else outer * kept.view(-1, 1)


def without_core(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Tensors of one layer whose Tucker core t2 (rank, rank, kernel height, kernel width), if any, is multiplied into
    w2_b. The product w2_a @ w2_b of the result is the same, at the same rank."""
    plain = dict(tensors)
    core = plain.pop(CORE, None)
    if core is not None:
        a, b = f"{SECOND}_a", f"{SECOND}_b"  # (rank, out_2), (rank, in_2)
        plain[b] = torch.einsum("pqhw,qi->pihw", core.float(), plain[b].float()).flatten(1)
        plain[a] = plain[a].T
    return plain


def _check_fit(name: str, shapes: KroneckerShapes, weight: torch.Size) -> None:
    product = (shapes.first[0] * shapes.second[0], shapes.first[1] * math.prod(shapes.second[1:]))
    if product != (weight[0], weight[1:].numel()):
        described = "x".join(map(str, product))
        raise UserError(f"{name}: {FIRST} and {SECOND} make a weight of {described} instead of {_flat(weight)}")


def _flat(weight: torch.Size) -> str:
    return f"{weight[0]}x{weight[1:].numel()}"
