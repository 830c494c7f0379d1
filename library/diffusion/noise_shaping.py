"""Changes of the noise before it is added."""

import torch


def add_offset_noise(
    noise: torch.Tensor,  # (batch, channels, height, width)
    offset_draws: torch.Tensor,  # (batch, channels), standard normal
    strength: float,
) -> torch.Tensor:
    """Shifts each channel of each image by a random constant, which lets a model learn overall brightness.

    Source: N. Guttenberg, "Diffusion with Offset Noise", 2023.
    """
    return noise + strength * offset_draws[:, :, None, None]
