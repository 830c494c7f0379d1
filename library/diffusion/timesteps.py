"""From uniform draws to timesteps."""

import torch

from library.diffusion.noise_schedule import NUM_TIMESTEPS


def uniform_timesteps(
    uniform: torch.Tensor,  # (batch,), in [0, 1)
    lowest: int = 0,
    limit: int = NUM_TIMESTEPS,
) -> torch.Tensor:
    """Whole numbers from `lowest` up to but not including `limit`, all equally likely. Shape (batch,)."""
    return (lowest + (uniform * (limit - lowest)).long()).clamp(max=limit - 1)
