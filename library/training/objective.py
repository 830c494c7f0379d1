"""What the network is trained to do: from a batch to the loss of each image."""

from dataclasses import dataclass

import torch

from library.dataset.training_batch import TrainingBatch
from library.diffusion.losses import min_snr_weights, squared_error_per_image
from library.diffusion.noise_schedule import NUM_TIMESTEPS, NoiseSchedule, add_noise, scaled_linear_schedule
from library.diffusion.noise_shaping import add_offset_noise
from library.diffusion.timesteps import uniform_timesteps
from library.models.adapter import ModelAdapter
from library.options.groups import LossOptions, NoiseOptions, TimestepOptions


@dataclass(frozen=True)
class Objective:
    """Tables and strengths of the loss, on the device. A pure function of a batch."""

    schedule: NoiseSchedule
    noise_offset: float
    """0 = none"""
    lowest_timestep: int
    timestep_limit: int
    timestep_weights: torch.Tensor | None
    """(1000,) weight of each timestep in the loss; None = all equal"""

    def loss_per_image(self, model: ModelAdapter, batch: TrainingBatch) -> torch.Tensor:
        """Weighted loss of each image of a batch that is on the device. Shape (batch,), float32."""
        latents = latents_of(model, batch)
        noise = batch.draws.noise
        if self.noise_offset:
            noise = add_offset_noise(noise, batch.draws.offset, self.noise_offset)
        timesteps = uniform_timesteps(batch.draws.timestep, self.lowest_timestep, self.timestep_limit)
        noisy = add_noise(self.schedule, latents, noise, timesteps)
        prediction = model.predict(noisy, timesteps, model.encode_text(batch.tokens))
        loss = squared_error_per_image(prediction, noise) * batch.loss_weights
        return loss if self.timestep_weights is None else loss * self.timestep_weights[timesteps]


def latents_of(model: ModelAdapter, batch: TrainingBatch) -> torch.Tensor:
    """The batch's cached latents, or those of its pictures."""
    if batch.latents is not None:
        return batch.latents
    if batch.pixels is None:
        raise ValueError("a batch needs pixels or latents")
    return model.encode_images(batch.pixels, batch.draws.posterior)


def build_objective(
    noise: NoiseOptions, timesteps: TimestepOptions, loss: LossOptions, device: torch.device
) -> Objective:
    schedule = scaled_linear_schedule()
    weights = min_snr_weights(schedule, loss.min_snr_gamma) if loss.min_snr_gamma else None
    return Objective(
        schedule=schedule.to(device),
        noise_offset=noise.noise_offset or 0.0,
        lowest_timestep=timesteps.min_timestep or 0,
        timestep_limit=timesteps.max_timestep or NUM_TIMESTEPS,
        timestep_weights=None if weights is None else weights.to(device),
    )
