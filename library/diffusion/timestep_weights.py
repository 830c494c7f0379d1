"""How much each timestep counts in the loss: tables over the 1000 timesteps, shape (1000,), that can be multiplied.

Whoever errs about the velocity errs about the noise, too, since v = (noise - sqrt(1 - a) x_t) / sqrt(a) with
a = SNR / (SNR + 1): the squared error of the noise is a times that of the velocity. Hence the factors of weights that
their papers define for noise prediction.
"""

import torch

from library.diffusion.noise_schedule import NoiseSchedule

LARGEST_SNR = 1000.0
"""Weights that sd-scripts defines with a limit of the SNR have this one."""


def noise_error_share(schedule: NoiseSchedule) -> torch.Tensor:
    """SNR / (SNR + 1): of a squared error of the velocity, what it is as squared error of the noise."""
    return schedule.alphas_cumprod


def min_snr_weights(schedule: NoiseSchedule, gamma: float, predicts_velocity: bool = False) -> torch.Tensor:
    """min(SNR, gamma) / SNR for noise prediction, min(SNR, gamma) / (SNR + 1) for velocity. At pure noise (SNR 0) the
    former has its limit, 1.

    Source: Hang et al. 2023, arXiv 2303.09556, section 3.4.
    """
    snr = schedule.signal_to_noise
    if predicts_velocity:
        return snr.clamp(max=gamma) / (snr + 1)
    return torch.where(snr > 0, snr.clamp(max=gamma) / snr, 1.0)


def soft_min_snr_weights(schedule: NoiseSchedule, gamma: float, predicts_velocity: bool) -> torch.Tensor:
    """gamma / (SNR + gamma) for noise prediction, times SNR / (SNR + 1) for velocity: min-SNR without the bend.

    Source: Crowson et al. 2024, arXiv 2401.11605, as weight of the error of the picture, which is 1 / SNR times that of
    the noise: SNR gamma / (SNR + gamma).
    """
    return _for_prediction(gamma / (schedule.signal_to_noise + gamma), schedule, predicts_velocity)


def p2_weights(schedule: NoiseSchedule, gamma: float, k: float, predicts_velocity: bool) -> torch.Tensor:
    """1 / (k + SNR)^gamma for noise prediction, times SNR / (SNR + 1) for velocity.

    Source: Choi et al. 2022, arXiv 2204.00227 (P2).
    """
    return _for_prediction((k + schedule.signal_to_noise) ** -gamma, schedule, predicts_velocity)


def debiased_weights(schedule: NoiseSchedule, predicts_velocity: bool) -> torch.Tensor:
    """1 / sqrt(SNR) for noise prediction, infinite at pure noise; 1 / (SNR + 1) for velocity. SNR at most 1000.

    Source: Yu et al. 2023, arXiv 2310.08442; for velocity and the limit: sd-scripts.
    """
    snr = schedule.signal_to_noise.clamp(max=LARGEST_SNR)
    return 1 / (snr + 1) if predicts_velocity else snr.rsqrt()


def velocity_as_noise_weights(schedule: NoiseSchedule) -> torch.Tensor:
    """SNR / (SNR + 1), SNR at most 1000: velocity prediction counts as noise prediction would.

    Source: sd-scripts, --scale_v_pred_loss_like_noise_pred.
    """
    snr = schedule.signal_to_noise.clamp(max=LARGEST_SNR)
    return snr / (snr + 1)


def with_velocity_weights(schedule: NoiseSchedule, share: float) -> torch.Tensor:
    """1 + share (SNR + 1) / SNR, SNR at most 1000, infinite at pure noise: to the loss of noise prediction comes a
    share of what it would be as loss of velocity prediction.

    Source: sd-scripts, --v_pred_like_loss.
    """
    return 1 + share / velocity_as_noise_weights(schedule)


def _for_prediction(weights: torch.Tensor, schedule: NoiseSchedule, predicts_velocity: bool) -> torch.Tensor:
    """Weights of noise prediction, as they are or so that velocity prediction is weighted alike."""
    return weights * noise_error_share(schedule) if predicts_velocity else weights
