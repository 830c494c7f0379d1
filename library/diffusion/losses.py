"""The loss of each image, and its weight."""

import torch

from library.diffusion.noise_schedule import NoiseSchedule


def squared_error_per_image(
    prediction: torch.Tensor,  # (batch, channels, height, width)
    target: torch.Tensor,  # same shape
) -> torch.Tensor:
    """Mean squared error over everything but the batch, in float32. Shape (batch,)."""
    return (prediction.float() - target.float()).square().flatten(1).mean(dim=1)


def min_snr_weights(schedule: NoiseSchedule, gamma: float) -> torch.Tensor:
    """Weight of each timestep for noise prediction: min(SNR, gamma) / SNR. Shape (1000,).

    Source: Hang et al. 2023, arXiv 2303.09556, section 3.4.
    """
    snr = schedule.signal_to_noise
    return snr.clamp(max=gamma) / snr
