"""Forms that hold the change of any kind of network: a plain LoRA by singular values, and full differences."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from library.errors import UserError

LayerChange = tuple[str, torch.Tensor, torch.Tensor | None]
"""Name of a layer, the change of its weight in the weight's shape, and that of its bias or None."""


@dataclass(frozen=True)
class RankChoice:
    """The rank of each layer: at most this, never more than the layer's weight has."""

    linear: int
    convolution: int
    """Of kernels larger than 1x1."""
    energy: float | None = None
    """Share of the sum of squares of a change to keep; ranks are then as small as it allows."""


@dataclass(frozen=True)
class LayerError:
    """What a plain LoRA lost of a layer's change."""

    name: str
    rank: int
    lost: float
    """Frobenius norm of the difference."""
    norm: float
    """Frobenius norm of the change."""

    @property
    def relative(self) -> float:
        return self.lost / self.norm if self.norm else 0.0


@dataclass(frozen=True)
class PlainLoRA:
    tensors: dict[str, torch.Tensor]
    errors: tuple[LayerError, ...]
    left_out: tuple[str, ...]
    """Layers with a change of their bias, or norm layers: no LoRA holds either."""

    @property
    def relative_error(self) -> float:
        """Of all layers together."""
        norm = sum(error.norm**2 for error in self.errors) ** 0.5
        return sum(error.lost**2 for error in self.errors) ** 0.5 / norm if norm else 0.0


def to_plain_lora(changes: Iterable[LayerChange], ranks: RankChoice) -> PlainLoRA:
    """The LoRA nearest to the changes. All layers have the same alpha, the largest rank, whatever their own rank is:
    diffusers misreads files of different alphas (client_support.Form.LORA_ALPHAS).

    Raises:
        UserError: there is no change that a LoRA could hold.
    """
    tensors: dict[str, torch.Tensor] = {}
    errors, left_out = [], []
    for name, weight, bias in changes:
        if weight.ndim < 2 or bias is not None:
            left_out.append(name)
        if weight.ndim < 2:
            continue
        is_large = weight.ndim == 4 and weight.shape[2:] != (1, 1)
        up, down = nearest_factors(weight.flatten(1), ranks.convolution if is_large else ranks.linear, ranks.energy)
        lost = float(torch.linalg.vector_norm(weight.flatten(1) - up @ down))
        errors.append(LayerError(name, len(down), lost, float(torch.linalg.vector_norm(weight))))
        tensors[f"{name}.lora_down.weight"] = down.view(len(down), *weight.shape[1:])
        tensors[f"{name}.lora_up.weight"] = up[:, :, None, None] if weight.ndim == 4 else up
    if not errors:
        raise UserError("network file: none of its changes is one that a LoRA could hold")
    _set_alphas(tensors, errors)
    return PlainLoRA(tensors, tuple(errors), tuple(left_out))


def _set_alphas(tensors: dict[str, torch.Tensor], errors: Sequence[LayerError]) -> None:
    """So that  alpha / rank * up @ down  is what  up @ down  was."""
    alpha = float(max(error.rank for error in errors))
    for error in errors:
        root = math.sqrt(error.rank / alpha)
        tensors[f"{error.name}.lora_down.weight"] *= root
        tensors[f"{error.name}.lora_up.weight"] *= root
        tensors[f"{error.name}.alpha"] = torch.tensor(alpha)


def nearest_factors(matrix: torch.Tensor, rank: int, energy: float | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """up (rows, rank) and down (rank, columns) whose product is the nearest to the matrix (Eckart and Young 1936); both
    have the same norm.

    The singular vectors come from the smaller Gram matrix in float64, which is several times faster than the
    decomposition of the matrix itself, and exact to the eighth digit of the largest singular value. What is smaller
    than float32's rounding of that one is noise, and left out: a LoRA of rank 4 stays one whatever rank is allowed.

    Args:
        rank: the largest allowed.
        energy: share of the sum of squares to keep, with the smallest rank that does.
    """
    if matrix.shape[0] > matrix.shape[1]:
        down, up = nearest_factors(matrix.T, rank, energy)
        return up.T.contiguous(), down.T.contiguous()
    exact = matrix.double()
    squares, vectors = torch.linalg.eigh(exact @ exact.T)
    squares, vectors = squares.flip(0).clamp(min=0), vectors.flip(1)
    kept = min(rank, _rank(squares), len(squares) if energy is None else _smallest_rank(squares, energy))
    roots = squares[:kept].sqrt().sqrt()
    up = vectors[:, :kept]
    down = (up.T @ exact) / roots.clamp(min=torch.finfo(roots.dtype).tiny)[:, None]
    return (up * roots).to(matrix.dtype), down.to(matrix.dtype)


def _rank(squares: torch.Tensor) -> int:
    """Args: squares: of the singular values, descending. At least 1."""
    noise = torch.finfo(torch.float32).eps ** 2 * squares[0]
    return max(1, int((squares > noise).sum()))


def _smallest_rank(squares: torch.Tensor, energy: float) -> int:
    """Args: squares: of the singular values, descending."""
    kept = squares.cumsum(0)
    return int(torch.searchsorted(kept, energy * kept[-1])) + 1


def to_differences(changes: Iterable[LayerChange]) -> dict[str, torch.Tensor]:
    """Full differences of weights and biases, which need no alpha; those of norm layers by the names they have."""
    tensors: dict[str, torch.Tensor] = {}
    for name, weight, bias in changes:
        if weight.ndim == 1:
            tensors[f"{name}.w_norm"] = weight
            tensors[f"{name}.b_norm"] = torch.zeros_like(weight) if bias is None else bias
            continue
        tensors[f"{name}.diff"] = weight
        if bias is not None:
            tensors[f"{name}.diff_b"] = bias
    return tensors
