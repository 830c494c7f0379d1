"""The noise schedule of Stable Diffusion: how much signal is left at each timestep."""

from dataclasses import dataclass

import torch

NUM_TIMESTEPS = 1000
BETA_START = 0.00085
BETA_END = 0.012


@dataclass(frozen=True)
class NoiseSchedule:
    """Tables over the 1000 timesteps, float32, shape (1000,); timestep 0 has the least noise."""

    betas: torch.Tensor
    alphas_cumprod: torch.Tensor
    """Share of signal variance (Ho et al. 2020, arXiv 2006.11239, equation 4)."""

    @property
    def signal_to_noise(self) -> torch.Tensor:
        """SNR = signal variance / noise variance."""
        return self.alphas_cumprod / (1 - self.alphas_cumprod)

    def to(self, device: torch.device) -> "NoiseSchedule":
        return NoiseSchedule(self.betas.to(device), self.alphas_cumprod.to(device))


def scaled_linear_schedule() -> NoiseSchedule:
    """Betas whose square roots rise linearly (Rombach et al. 2022, arXiv 2112.10752, released configuration)."""
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, NUM_TIMESTEPS, dtype=torch.float32) ** 2
    return NoiseSchedule(betas, torch.cumprod(1 - betas, dim=0))


def with_zero_terminal_snr(schedule: NoiseSchedule) -> NoiseSchedule:
    """The schedule rescaled so that its last step is pure noise while its first keeps its place.

    Source: Lin et al. 2023, arXiv 2305.08891, algorithm 1.
    """
    signal = schedule.alphas_cumprod.sqrt()
    first, last = signal[0].clone(), signal[-1].clone()
    rescaled = ((signal - last) * first / (first - last)).square()
    kept = torch.cat([rescaled[:1], rescaled[1:] / rescaled[:-1]])
    return NoiseSchedule(1 - kept, rescaled)


def add_noise(
    schedule: NoiseSchedule,
    latents: torch.Tensor,  # (batch, channels, height, width)
    noise: torch.Tensor,  # same shape
    timesteps: torch.Tensor,  # (batch,), whole numbers
) -> torch.Tensor:
    """x_t = sqrt(alphas_cumprod) * latents + sqrt(1 - alphas_cumprod) * noise (Ho et al. 2020, equation 4)."""
    kept = schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    return kept.sqrt() * latents + (1 - kept).sqrt() * noise


def velocity(
    schedule: NoiseSchedule,
    latents: torch.Tensor,  # (batch, channels, height, width)
    noise: torch.Tensor,  # same shape
    timesteps: torch.Tensor,  # (batch,), whole numbers
) -> torch.Tensor:
    """v = sqrt(alphas_cumprod) * noise - sqrt(1 - alphas_cumprod) * latents.

    Source: Salimans and Ho 2022, arXiv 2202.00512, section 4.
    """
    kept = schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    return kept.sqrt() * noise - (1 - kept).sqrt() * latents
