"""From uniform draws to timesteps: a draw in [0, 1) takes on a distribution, then becomes one of a range of timesteps.

Each distribution is the inverse of its cumulative distribution function, so that draws which cover [0, 1) evenly
cover the distribution evenly, too. 1 is the end of pure noise.
"""

import math

import torch

from library.diffusion.noise_schedule import NUM_TIMESTEPS

BELOW_ONE = 1 - 2**-24
"""The largest float32 number below 1."""

_WORD = 2**64
_GOLDEN_RATIO = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio, rounded to an odd number."""


def evenly_spread_draws(first_place: int, count: int, shift: int) -> torch.Tensor:
    """Members `first_place`, `first_place` + 1, ... of a sequence in [0, 1) of which any n neighbours, wherever they
    begin, leave no gap larger than 2 / n: multiples of the golden ratio modulo 1. Shape (count,), float32.

    Args:
        shift: where the sequence starts, from 0 up to but not including 2^64: uniform shifts make each member uniform.

    Source: Kuipers and Niederreiter 1974, "Uniform Distribution of Sequences", chapter 2, section 3; in whole numbers,
    so that it is exact however long a run is.
    """
    places = range(first_place, first_place + count)
    # the first 24 of 64 bits are exact in float32, as torch.rand's are
    return torch.tensor([((shift + place * _GOLDEN_RATIO) % _WORD >> 40) / 2**24 for place in places])


def uniform(draws: torch.Tensor) -> torch.Tensor:
    """All timesteps equally likely."""
    return draws


def logit_normal(
    draws: torch.Tensor,  # uniform in [0, 1)
    mean: float,
    std: float,
) -> torch.Tensor:
    """Numbers in [0, 1) whose logit, ln(t / (1 - t)), is normal; a mean above 0 favours noisy timesteps.

    Source: Esser et al. 2024, arXiv 2403.03206, section 3.1, "Logit-Normal Sampling".
    """
    normal = math.sqrt(2) * torch.erfinv(2 * draws - 1)  # exact in float32: draws are multiples of 2^-24
    return torch.sigmoid(mean + std * normal).clamp(max=BELOW_ONE)


def cosine(draws: torch.Tensor) -> torch.Tensor:
    """Numbers in [0, 1) spread as a cosine schedule's noise levels: the middle twice as likely as either end.

    Source: Esser et al. 2024, arXiv 2403.03206, section 3.1, "CosMap": 1 - 1 / (tan(pi/2 u) + 1), here without the
    pole of the tangent.
    """
    angle = math.pi / 2 * draws
    return (angle.sin() / (angle.sin() + angle.cos())).clamp(max=BELOW_ONE)


def timesteps_between(
    shares: torch.Tensor,  # (batch,), in [0, 1)
    lowest: int = 0,
    limit: int = NUM_TIMESTEPS,
) -> torch.Tensor:
    """Whole numbers from `lowest` up to but not including `limit`, each for an equal part of [0, 1). Shape (batch,)."""
    return (lowest + (shares * (limit - lowest)).long()).clamp(max=limit - 1)
