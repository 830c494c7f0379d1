"""What the two factors of a low-rank change start from.

All take and give factors as files have them: down (rank, in[, kh, kw]), up (out, rank[, 1, 1]).
"""

import math

import torch
from torch import nn

from library.errors import UserError

Factors = tuple[torch.Tensor, torch.Tensor]
"""down, up"""

_POWER_ITERATIONS = 16
_EXTRA_VECTORS = 8
"""Of the randomised singular value decomposition (Halko et al. 2011, arXiv 0909.4061, algorithms 4.3 and 4.4)."""


def start_uniform(factor: torch.Tensor) -> None:
    """Uniform up to 1 / sqrt(inputs), as PyTorch starts every layer, and LoRA's reference code with it."""
    nn.init.kaiming_uniform_(factor, a=math.sqrt(5))


def orthogonal_factors(down_shape: torch.Size, up_shape: torch.Size) -> Factors:
    """Random factors of full size whose product is zero, since they live in orthogonal halves of the rank.

    As PEFT's `init_lora_weights="orthogonal"`: the even and odd rows of a random orthogonal (rank, rank) matrix span
    the halves; coefficients are normal with a deviation of 0.1.

    Raises:
        UserError: the rank is odd.
    """
    rank = down_shape[0]
    if rank % 2:
        raise UserError(f"--network_args init=orthogonal: needs even ranks, and a layer has {rank}")
    directions, _ = torch.linalg.qr(torch.randn(rank, rank, dtype=torch.float64))
    of_down, of_up = directions[0::2], directions[1::2]
    down = 0.1 * of_down.T @ torch.randn(rank // 2, down_shape[1:].numel(), dtype=torch.float64)
    up = 0.1 * torch.randn(up_shape[0], rank // 2, dtype=torch.float64) @ of_up
    return down.float().view(down_shape), up.float().view(up_shape)


def principal_factors(weight: torch.Tensor, rank: int, scale: float) -> Factors:
    """Factors with  scale * up @ down  the best approximation of the weight: its largest singular vectors
    (PiSSA; Meng et al. 2024, arXiv 2404.02948, equations 2 and 3), from a randomised decomposition.

    Raises:
        UserError: the weight has fewer singular vectors than the rank.
    """
    matrix = weight.flatten(1).float()
    most = min(matrix.shape)
    if rank > most:
        raise UserError(
            f"--network_args init=pissa: a layer has no more than {most} singular vectors, but rank {rank}; lower it"
        )
    left, values, right = torch.svd_lowrank(matrix, min(rank + _EXTRA_VECTORS, most), niter=_POWER_ITERATIONS)
    roots = (values[:rank] / scale).sqrt()
    down = (right[:, :rank] * roots).T.reshape(rank, *weight.shape[1:])
    up = (left[:, :rank] * roots).reshape(-1, rank, *(1 for _ in weight.shape[2:]))
    return down.contiguous(), up.contiguous()
