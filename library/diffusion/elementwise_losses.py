"""How a prediction is compared with its target, value by value. All in float32, whatever the precision of the model."""

from collections.abc import Callable, Mapping

import torch

from library.diffusion.noise_schedule import NUM_TIMESTEPS, NoiseSchedule

SMALLEST_THRESHOLD = 1e-12
"""Smaller ones mean the same, but errors divided by them would have squares that are infinite in float32."""


def squared_error(difference: torch.Tensor) -> torch.Tensor:
    """l2: d^2."""
    return difference.square()


def absolute_error(difference: torch.Tensor) -> torch.Tensor:
    """l1: |d|."""
    return difference.abs()


def huber_loss(difference: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """2c (sqrt(d^2 + c^2) - c): d^2 for d much smaller than the threshold c, 2c |d| for d much larger.

    Formed as 2 d^2 / (sqrt((d / c)^2 + 1) + 1), which is the same without the difference of two numbers that are almost
    equal, and without the square of a large threshold, which would be infinite.

    Source: Charbonnier et al. 1997, "Deterministic edge-preserving regularization in computed imaging", as pseudo-Huber
    loss; for diffusion models: Khrapov et al. 2024, arXiv 2403.16728.
    """
    return 2 * difference.square() / (((difference / threshold).square() + 1).sqrt() + 1)


def smooth_l1_loss(difference: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """2 (sqrt(d^2 + c^2) - c): d^2 / c for d much smaller than the threshold c, 2 |d| for d much larger."""
    return huber_loss(difference, threshold) / threshold


PLAIN_LOSSES: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {"l2": squared_error, "l1": absolute_error}
HUBER_LOSSES: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "huber": huber_loss,
    "smooth_l1": smooth_l1_loss,
}
"""Those with a threshold."""


def elementwise_loss(
    kind: str,  # of PLAIN_LOSSES or HUBER_LOSSES
    prediction: torch.Tensor,  # (batch, channels, height, width)
    target: torch.Tensor,  # same shape
    thresholds: torch.Tensor | None = None,  # (batch,), for HUBER_LOSSES
) -> torch.Tensor:
    """The loss of each value, float32; same shape."""
    difference = prediction.float() - target.float()
    if thresholds is None:
        return PLAIN_LOSSES[kind](difference)
    return HUBER_LOSSES[kind](difference, thresholds.view(-1, 1, 1, 1))


def constant_thresholds(threshold: float) -> torch.Tensor:
    """The same at all timesteps. Shape (1000,)."""
    return torch.full((NUM_TIMESTEPS,), threshold)


def exponential_thresholds(threshold: float) -> torch.Tensor:
    """threshold^(t / 1000): 1 where there is least noise, the threshold where there is most. Shape (1000,).

    Source: Khrapov et al. 2024, arXiv 2403.16728, section 3.
    """
    return threshold ** (torch.arange(NUM_TIMESTEPS) / NUM_TIMESTEPS)


def snr_thresholds(threshold: float, schedule: NoiseSchedule) -> torch.Tensor:
    """(1 - threshold) / (1 + sigma)^2 + threshold, with sigma = sqrt(1 / SNR): from nearly 1 where there is least
    noise down to the threshold where there is nothing else. Shape (1000,).

    Source: sd-scripts, which schedules thresholds so by default.
    """
    sigma = schedule.signal_to_noise.rsqrt()  # infinite at pure noise, where the first term is 0
    return (1 - threshold) / (1 + sigma).square() + threshold


def huber_thresholds(kind: str, threshold: float, scale: float, schedule: NoiseSchedule) -> torch.Tensor:
    """The threshold at each timestep: how it is scheduled, times a scale. Shape (1000,).

    Args:
        kind: constant, exponential or snr.
    """
    tables = {
        "constant": lambda: constant_thresholds(threshold),
        "exponential": lambda: exponential_thresholds(threshold),
        "snr": lambda: snr_thresholds(threshold, schedule),
    }
    return (tables[kind]() * scale).clamp(min=SMALLEST_THRESHOLD)
