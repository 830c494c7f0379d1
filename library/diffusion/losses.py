"""The loss of each image, and its weight."""

import torch

from library.diffusion.noise_schedule import NoiseSchedule


def squared_error_per_image(
    prediction: torch.Tensor,  # (batch, channels, height, width)
    target: torch.Tensor,  # same shape
    masks: torch.Tensor | None = None,  # (batch, height, width), 0 to 1
) -> torch.Tensor:
    """Mean squared error over everything but the batch, in float32. Shape (batch,).

    Masks are factors of the squared error, and the mean is that over the whole picture all the same: a picture of
    which half is masked out weighs half.
    """
    errors = (prediction.float() - target.float()).square()
    if masks is not None:
        errors = errors * masks.unsqueeze(1)
    return errors.flatten(1).mean(dim=1)


def min_snr_weights(schedule: NoiseSchedule, gamma: float, predicts_velocity: bool = False) -> torch.Tensor:
    """Weight of each timestep: min(SNR, gamma) / SNR for noise prediction, min(SNR, gamma) / (SNR + 1) for velocity.
    Shape (1000,). At pure noise (SNR 0) the former has its limit, 1.

    Source: Hang et al. 2023, arXiv 2303.09556, section 3.4.
    """
    snr = schedule.signal_to_noise
    if predicts_velocity:
        return snr.clamp(max=gamma) / (snr + 1)
    return torch.where(snr > 0, snr.clamp(max=gamma) / snr, 1.0)
