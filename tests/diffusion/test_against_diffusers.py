"""The noisy latents and targets of training against diffusers' scheduler."""

import pytest
import torch
from diffusers import DDPMScheduler

from library.diffusion.noise_schedule import add_noise, scaled_linear_schedule, velocity, with_zero_terminal_snr


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_noisy_latents_and_velocity(zero_terminal_snr):
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", rescale_betas_zero_snr=zero_terminal_snr
    )
    schedule = scaled_linear_schedule()
    if zero_terminal_snr:
        schedule = with_zero_terminal_snr(schedule)
    generator = torch.Generator().manual_seed(1)
    latents, noise = torch.randn(2, 6, 4, 8, 12, generator=generator)
    timesteps = torch.tensor([0, 1, 400, 750, 998, 999])
    noisy = add_noise(schedule, latents, noise, timesteps)
    torch.testing.assert_close(noisy, scheduler.add_noise(latents, noise, timesteps), rtol=0, atol=1e-5)
    target = velocity(schedule, latents, noise, timesteps)
    torch.testing.assert_close(target, scheduler.get_velocity(latents, noise, timesteps), rtol=0, atol=1e-5)
    if zero_terminal_snr:
        assert torch.equal(noisy[-1], noise[-1])
        assert torch.equal(target[-1], -latents[-1])
