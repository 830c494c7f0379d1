"""Norms of W + scale * up @ down without forming it, nor a wider copy of a half-precision W.

With W_o a row of W and A = down, B = up as matrices,

    |W_o + s B_o A|^2 = |W_o|^2 + B_o . (2 s A W_o + s^2 (A A^T) B_o)

and likewise for columns with B^T W and B^T B. The squares of W alone are computed once; a norm reads W once. Gradients
flow to up and down. Everything is computed in fp32 (fp64 for fp64 weights), whatever autocast says.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

SMALLEST_NORM = 1e-12
"""Norms are at least this, so that they can be divided by: some inputs are read by nothing."""

CHUNK_VALUES = 2**22
"""How many values of a half-precision weight are converted at a time."""


def column_squares(weight: Tensor) -> Tensor:
    """Squared norm of each input column of a weight (out, in[, kh, kw]): (1, in[, 1, 1])."""
    return _squares(weight, [0, *range(2, weight.dim())])


def row_squares(weight: Tensor) -> Tensor:
    """Squared norm of each output row of a weight (out, in[, kh, kw]): (out, 1[, 1, 1])."""
    return _squares(weight, [*range(1, weight.dim())])


def column_norms(weight_squares: Tensor, weight: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
    """Norm of each input column of W + scale * up @ down, over outputs and kernel: (1, in[, 1, 1]).

    Args:
        weight_squares: `column_squares(weight)`.
        weight: (out, in[, kh, kw]), frozen.
        down, up: (rank, in[, kh, kw]), (out, rank[, 1, 1]).
    """
    with torch.autocast(weight.device.type, enabled=False):
        wide = _width(weight)
        down, up = down.to(wide).flatten(1), up.to(wide).flatten(1)
        cross = 2 * scale * _LeftProduct.apply(weight.flatten(1), up) + scale**2 * (up.t() @ up) @ down
        change = (down * cross).sum(0).view(weight_squares.shape[1], -1).sum(1).view(weight_squares.shape)
        return _roots(weight_squares + change)


def row_norms(weight_squares: Tensor, weight: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
    """Norm of each output row of W + scale * up @ down, over inputs and kernel: (out, 1[, 1, 1]).

    weight_squares is `row_squares(weight)`; the others are as in `column_norms`.
    """
    with torch.autocast(weight.device.type, enabled=False):
        wide = _width(weight)
        down, up = down.to(wide).flatten(1), up.to(wide).flatten(1)
        cross = 2 * scale * _RightProduct.apply(weight.flatten(1), down) + scale**2 * up @ (down @ down.t())
        return _roots(weight_squares + (up * cross).sum(1).view(weight_squares.shape))


def _squares(weight: Tensor, axes: list[int]) -> Tensor:
    return torch.linalg.vector_norm(weight.detach(), dim=axes, keepdim=True, dtype=_width(weight)).square()


def _roots(squares: Tensor) -> Tensor:
    return squares.clamp(min=SMALLEST_NORM**2).sqrt()


def _width(weight: Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)


def _chunks(weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """A matrix in its full width, some rows at a time; all of them if nothing need be converted."""
    wide = _width(weight)
    rows = len(weight) if weight.dtype == wide else max(1, CHUNK_VALUES // weight.shape[1])
    for start in range(0, len(weight), rows):
        chunk = slice(start, start + rows)
        yield chunk, weight[chunk].to(wide)


def _left_product(weight: Tensor, columns: Tensor) -> Tensor:
    """columns^T W, (rank, in), for columns (out, rank)."""
    return sum(columns[chunk].t() @ part for chunk, part in _chunks(weight))


def _right_product(weight: Tensor, rows: Tensor) -> Tensor:
    """W rows^T, (out, rank), for rows (rank, in)."""
    return torch.cat([part @ rows.t() for _, part in _chunks(weight)])


class _LeftProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, columns: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return _left_product(weight, columns)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, _right_product(*ctx.saved_tensors, gradient)


class _RightProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return _right_product(weight, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, _left_product(*ctx.saved_tensors, gradient)
