"""How LoKr divides a weight into two factors of a Kronecker product, and which of them it divides further.

The rules are those of LyCORIS, so that the same arguments make networks of the same shapes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from networks.layers.adapted_layer import Tensors


@dataclass(frozen=True)
class KroneckerShapes:
    """Shapes of the factors w1 and w2, whose product has the shape (outputs, inputs[, kernel height, kernel width])."""

    first: tuple[int, int]
    """(outputs, inputs)"""
    second: tuple[int, ...]
    """(outputs, inputs[, kernel height, kernel width])"""
    first_rank: int | None
    """None = w1 is kept as it is, else as the product of two matrices with this rank."""
    second_rank: int | None
    """The same for w2."""

    @property
    def rank(self) -> int | None:
        """The one by which alpha is divided; None if both are kept as they are: then nothing is scaled."""
        return self.first_rank if self.second_rank is None else self.second_rank


def plan_shapes(
    weight: Sequence[int],
    rank: int,
    factor: int = -1,
    decompose_both: bool = False,
    full_matrix: bool = False,
    unbalanced: bool = False,
) -> KroneckerShapes:
    """The factors for a weight (out, in[, kernel height, kernel width]).

    Args:
        factor: see `factorize`.
        decompose_both: w1, too, is made of two matrices, if those are smaller.
        full_matrix: none is.
        unbalanced: w1 gets the larger part of the outputs.
    """
    outputs, inputs, *kernel = weight
    first_out, second_out = factorize(outputs, factor)
    if unbalanced:
        first_out, second_out = second_out, first_out
    first_in, second_in = factorize(inputs, factor)
    divides_first = decompose_both and not full_matrix and rank < max(first_out, first_in) / 2
    divides_second = not full_matrix and rank < max(second_out, second_in) / 2
    return KroneckerShapes(
        (first_out, first_in),
        (second_out, second_in, *kernel),
        rank if divides_first else None,
        rank if divides_second else None,
    )


def factorize(size: int, factor: int = -1) -> tuple[int, int]:
    """Two whole numbers whose product is `size`, the smaller one first.

    Args:
        factor: one of the two, if it divides the size; else the smaller is the largest divisor below it. -1 = the two
            that are closest to each other.
    """
    if factor > 0 and size % factor == 0:
        smaller = min(factor, size // factor)
    else:
        largest = math.isqrt(size)
        largest = largest if factor < 0 else min(factor, largest)
        smaller = max(divisor for divisor in range(1, largest + 1) if size % divisor == 0)
    return smaller, size // smaller


def shapes_in(tensors: Tensors, kernel: Sequence[int]) -> KroneckerShapes:
    """The factors that a file holds for a layer; without `lokr_t2`.

    Args:
        kernel: (height, width) of a convolution, (,) of a linear layer: where w2 is made of two matrices, the second
            one is (rank, inputs * height * width).
    """
    first, first_rank = _shape_in(tensors, "lokr_w1")
    second, second_rank = _shape_in(tensors, "lokr_w2")
    if second_rank is not None:
        second = (second[0], second[1] // math.prod(kernel), *kernel)
    return KroneckerShapes((first[0], first[1]), second, first_rank, second_rank)


def _shape_in(tensors: Tensors, factor: str) -> tuple[tuple[int, ...], int | None]:
    """(shape, rank or None)"""
    if factor in tensors:
        return tuple(tensors[factor].shape), None
    b = tensors[f"{factor}_b"]
    return (len(tensors[f"{factor}_a"]), b.shape[1]), len(b)
