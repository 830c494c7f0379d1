"""What a training step does to a picture: which noise, how much of it, and what the model is shown."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from library.dataset.batches.draws import DrawRecipe, Draws, PyramidShape, drawn
from library.diffusion.noise_schedule import (
    NUM_TIMESTEPS,
    NoiseSchedule,
    add_noise,
    scaled_linear_schedule,
    with_zero_terminal_snr,
)
from library.diffusion.noise_shaping import (
    adapt_offset_strength,
    add_offset_noise,
    add_pyramid_noise,
    perturb_input,
)
from library.diffusion.timesteps import cosine, logit_normal, timesteps_between, uniform
from library.options.groups import NoiseOptions, TimestepOptions

Distribution = Callable[[torch.Tensor], torch.Tensor]
"""Uniform draws in [0, 1) -> numbers in [0, 1) of some distribution."""


@dataclass(frozen=True)
class Noising:
    """Turns a batch's draws into timesteps, noise and noisy latents. A pure function of the batch; all is computed on
    the batch's device, without waiting for it."""

    schedule: NoiseSchedule
    """on the device"""
    shaping: NoiseOptions
    lowest_timestep: int
    timestep_limit: int
    """first timestep that is not drawn"""
    distribution: Distribution

    def timesteps(self, draws: Draws) -> torch.Tensor:
        """int64 (batch,)"""
        return timesteps_between(self.distribution(draws.timestep), self.lowest_timestep, self.timestep_limit)

    def noise(self, draws: Draws, latents: torch.Tensor) -> torch.Tensor:
        """The noise that is to be predicted, offset first, then multi-resolution. (batch, channels, height, width)"""
        noise = draws.noise
        if self.shaping.noise_offset:
            noise = add_offset_noise(noise, drawn(draws.offset), self._offset_strength(draws, latents))
        if self.shaping.multires_noise_iterations:
            noise = add_pyramid_noise(noise, drawn(draws.pyramid))
        return noise

    def noisy_latents(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, draws: Draws
    ) -> torch.Tensor:
        """What the model is shown: latents with noise, which input perturbation makes differ from the target.

        Args: as `noise` and `timesteps` give them. Returns the shape of `latents`.
        """
        strength = self.shaping.ip_noise_gamma
        if strength:
            random = self.shaping.ip_noise_gamma_random_strength
            noise = perturb_input(
                noise, drawn(draws.input_noise), strength * drawn(draws.input_strength) if random else strength
            )
        return add_noise(self.schedule, latents, noise, timesteps)

    def _offset_strength(self, draws: Draws, latents: torch.Tensor) -> float | torch.Tensor:
        """One number, or what broadcasts to (batch, channels)."""
        shaping = self.shaping
        strength: float | torch.Tensor = shaping.noise_offset or 0.0
        if shaping.noise_offset_random_strength:
            strength = strength * drawn(draws.offset_strength)[:, None]
        if shaping.adaptive_noise_scale:
            strength = adapt_offset_strength(strength, latents, shaping.adaptive_noise_scale)
        return strength


def build_noising(noise: NoiseOptions, timesteps: TimestepOptions, device: torch.device) -> Noising:
    schedule = scaled_linear_schedule()
    if noise.zero_terminal_snr:
        schedule = with_zero_terminal_snr(schedule)
    lowest = timesteps.min_timestep or 0
    limit = timesteps.max_timestep or NUM_TIMESTEPS
    return Noising(
        schedule=schedule.to(device),
        shaping=noise,
        lowest_timestep=lowest,
        timestep_limit=max(limit, lowest + 1),  # equal values: that one timestep
        distribution=_distribution(timesteps),
    )


def draw_recipe(noise: NoiseOptions, timesteps: TimestepOptions) -> DrawRecipe:
    """What the Noising of the same options needs to find in a batch."""
    has_offset, has_input_noise = bool(noise.noise_offset), bool(noise.ip_noise_gamma)
    iterations = noise.multires_noise_iterations
    return DrawRecipe(
        offset=has_offset,
        offset_strength=has_offset and noise.noise_offset_random_strength,
        pyramid=PyramidShape(iterations, noise.multires_noise_discount) if iterations else None,
        input_noise=has_input_noise,
        input_strength=has_input_noise and noise.ip_noise_gamma_random_strength,
        stratified=timesteps.stratified_timesteps,
    )


def _distribution(options: TimestepOptions) -> Distribution:
    match options.timestep_sampling:
        case "uniform":
            return uniform
        case "logit_normal":
            return partial(logit_normal, mean=options.logit_mean, std=options.logit_std)
        case "cosine":
            return cosine
