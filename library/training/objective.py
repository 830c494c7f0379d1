"""What the network is trained to do: from a batch to the loss of each image."""

from dataclasses import dataclass

import torch

from library.dataset.batches.training_batch import TrainingBatch
from library.diffusion.conditioning import TextConditioning
from library.diffusion.losses import min_snr_weights, squared_error_per_image
from library.diffusion.noise_schedule import (
    NUM_TIMESTEPS,
    NoiseSchedule,
    add_noise,
    scaled_linear_schedule,
    velocity,
    with_zero_terminal_snr,
)
from library.diffusion.noise_shaping import add_offset_noise
from library.diffusion.timesteps import uniform_timesteps
from library.errors import UserError
from library.models.adapter import ModelAdapter
from library.models.latent_codec import NO_FINITE_LATENTS, NonFiniteLatentsError
from library.options.groups import LossOptions, NoiseOptions, TimestepOptions


@dataclass(frozen=True)
class Objective:
    """Tables and strengths of the loss, on the device. A pure function of a batch."""

    schedule: NoiseSchedule
    predicts_velocity: bool
    """Otherwise the noise is the target."""
    noise_offset: float
    """0 = none"""
    lowest_timestep: int
    timestep_limit: int
    timestep_weights: torch.Tensor | None
    """(1000,) weight of each timestep in the loss; None = all equal"""

    def loss_per_image(self, model: ModelAdapter, batch: TrainingBatch) -> torch.Tensor:
        """Weighted loss of each image of a batch that is on the device. Shape (batch,), float32.

        A batch's loss is the mean over all its rows, those of weight 0 included: what an image weighs does not depend
        on its neighbours.
        """
        latents = latents_of(model, batch)
        noise = batch.draws.noise
        if self.noise_offset:
            noise = add_offset_noise(noise, batch.draws.offset, self.noise_offset)
        timesteps = uniform_timesteps(batch.draws.timestep, self.lowest_timestep, self.timestep_limit)
        noisy = add_noise(self.schedule, latents, noise, timesteps)
        prediction = model.predict(noisy, timesteps, text_of(model, batch), batch.sizes)
        target = velocity(self.schedule, latents, noise, timesteps) if self.predicts_velocity else noise
        loss = squared_error_per_image(prediction, target, batch.masks) * batch.loss_weights
        return loss if self.timestep_weights is None else loss * self.timestep_weights[timesteps]


def latents_of(model: ModelAdapter, batch: TrainingBatch) -> torch.Tensor:
    """The batch's cached latents, sampled anew if their deviations are known, or those of its pictures; float32.

    Raises:
        UserError: the VAE gives none that could be used; names the image.
    """
    draws = batch.draws.posterior
    if batch.latents is not None:
        latents = batch.latents.float()
        return latents if batch.deviations is None else latents + batch.deviations.float() * draws
    if batch.pixels is None:
        raise ValueError("a batch needs pixels or latents")
    try:
        return model.encode_images(batch.pixels, draws)
    except NonFiniteLatentsError as error:
        raise UserError(f"image {batch.image_ids[error.rows[0]]}: {NO_FINITE_LATENTS}") from None


def text_of(model: ModelAdapter, batch: TrainingBatch) -> TextConditioning:
    """The batch's captions, encoded before or now."""
    if batch.text is not None:
        return batch.text
    if batch.tokens is None:
        raise ValueError("a batch needs tokens or encoded captions")
    return model.encode_text(batch.tokens)


def build_objective(
    noise: NoiseOptions, timesteps: TimestepOptions, loss: LossOptions, predicts_velocity: bool, device: torch.device
) -> Objective:
    schedule = scaled_linear_schedule()
    if noise.zero_terminal_snr:
        schedule = with_zero_terminal_snr(schedule)
    weights = min_snr_weights(schedule, loss.min_snr_gamma, predicts_velocity) if loss.min_snr_gamma else None
    return Objective(
        schedule=schedule.to(device),
        predicts_velocity=predicts_velocity,
        noise_offset=noise.noise_offset or 0.0,
        lowest_timestep=timesteps.min_timestep or 0,
        timestep_limit=timesteps.max_timestep or NUM_TIMESTEPS,
        timestep_weights=None if weights is None else weights.to(device),
    )
