"""What the network is trained to do: from a batch to the loss of each image."""

from dataclasses import dataclass, replace
from functools import reduce

import torch

from library.dataset.batches.draws import drawn
from library.dataset.batches.training_batch import TrainingBatch
from library.diffusion.conditioning import TextConditioning
from library.diffusion.elementwise_losses import HUBER_LOSSES, elementwise_loss, huber_thresholds
from library.diffusion.masked_means import mean_per_image, softened
from library.diffusion.noise_schedule import NoiseSchedule, velocity
from library.diffusion.timestep_weights import (
    debiased_weights,
    min_snr_weights,
    p2_weights,
    soft_min_snr_weights,
    velocity_as_noise_weights,
    with_velocity_weights,
)
from library.errors import UserError
from library.models.adapter import ModelAdapter
from library.models.latent_codec import NO_FINITE_LATENTS, NonFiniteLatentsError
from library.options.groups import LossOptions, NoiseOptions, TimestepOptions
from library.training.noising import Noising, build_noising
from library.training.output_preservation import OutputPreservation


@dataclass(frozen=True)
class BatchLosses:
    """Of one batch; each (batch,), on the device."""

    weighted: torch.Tensor
    """float32: what is trained on is the mean of these"""
    unweighted: torch.Tensor
    """float32, without gradients: before the images' weights and those of the timesteps"""
    timesteps: torch.Tensor
    """int64"""

    def detach(self) -> "BatchLosses":
        """Without what is needed to go backward."""
        return replace(self, weighted=self.weighted.detach())


@dataclass(frozen=True)
class Comparison:
    """How a prediction is compared with its target."""

    kind: str
    """of elementwise_losses"""
    thresholds: torch.Tensor | None
    """(1000,) Huber threshold of each timestep, on the device; None for losses without one"""
    unmasked_weight: float
    """how much counts what masks leave out"""
    is_normalized: bool
    """whether the mean is that over what masks leave"""

    def loss_per_image(
        self,
        prediction: torch.Tensor,  # (batch, channels, height, width)
        target: torch.Tensor,  # same shape
        timesteps: torch.Tensor,  # (batch,)
        masks: torch.Tensor | None,  # (batch, height, width), 0 to 1; None = everything counts
    ) -> torch.Tensor:
        """Shape (batch,), float32."""
        thresholds = None if self.thresholds is None else self.thresholds[timesteps]
        losses = elementwise_loss(self.kind, prediction, target, thresholds)
        if masks is not None and self.unmasked_weight:
            masks = softened(masks, self.unmasked_weight)
        return mean_per_image(losses, masks, self.is_normalized)


@dataclass(frozen=True)
class Objective:
    """Tables and strengths of the loss, on the device. A pure function of a batch."""

    noising: Noising
    predicts_velocity: bool
    """Otherwise the noise is the target."""
    comparison: Comparison
    timestep_weights: torch.Tensor | None
    """(1000,) weight of each timestep in the loss; None = all equal"""
    preservation: OutputPreservation | None = None
    """None = there is no network, or nothing that it is to leave as it is"""

    def losses(self, model: ModelAdapter, batch: TrainingBatch) -> BatchLosses:
        """The losses of a batch that is on the device.

        A batch's loss is the mean over all its rows, those of weight 0 included: what an image weighs does not depend
        on its neighbours.
        """
        latents = latents_of(model, batch)
        timesteps = self.noising.timesteps(batch.draws)
        noise = self.noising.noise(batch.draws, latents)
        noisy = self.noising.noisy_latents(latents, noise, timesteps, batch.draws)
        text = text_of(model, batch)
        prediction = model.predict(noisy, timesteps, text, batch.sizes)
        target = velocity(self.noising.schedule, latents, noise, timesteps) if self.predicts_velocity else noise
        if batch.preserved is not None:
            preserved = self._preservation().predictions(model, batch, noisy, timesteps, text)
            target = target.index_copy(0, batch.preserved, preserved.to(target.dtype))
        unweighted = self.comparison.loss_per_image(prediction, target, timesteps, batch.masks)
        weighted = unweighted * batch.loss_weights
        if self.timestep_weights is not None:
            weighted = weighted * self.timestep_weights[timesteps]
        return BatchLosses(weighted, unweighted.detach(), timesteps)

    def _preservation(self) -> OutputPreservation:
        if self.preservation is None:
            raise ValueError("the batch has images to be left as they are, but the objective knows no network")
        return self.preservation


def latents_of(model: ModelAdapter, batch: TrainingBatch) -> torch.Tensor:
    """The batch's cached latents, sampled anew if their deviations are known, or those of its pictures; float32.

    Raises:
        UserError: the VAE gives none that could be used; names the image.
    """
    if batch.latents is not None:
        latents = batch.latents.float()
        return (
            latents if batch.deviations is None else latents + batch.deviations.float() * drawn(batch.draws.posterior)
        )
    if batch.pixels is None:
        raise ValueError("a batch needs pixels or latents")
    try:
        return model.encode_images(batch.pixels, drawn(batch.draws.posterior))
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
    noise: NoiseOptions,
    timesteps: TimestepOptions,
    loss: LossOptions,
    predicts_velocity: bool,
    device: torch.device,
    preservation: OutputPreservation | None = None,
) -> Objective:
    """
    Args:
        preservation: needed for batches with rows that are to stay as they are.
    """
    noising = build_noising(noise, timesteps, device)
    schedule = noising.schedule.to(torch.device("cpu"))  # where tables come out the same for all devices
    weights = timestep_weights(loss, schedule, predicts_velocity)
    return Objective(
        noising=noising,
        predicts_velocity=predicts_velocity,
        comparison=_build_comparison(loss, schedule, device),
        timestep_weights=None if weights is None else weights.to(device),
        preservation=preservation,
    )


def _build_comparison(loss: LossOptions, schedule: NoiseSchedule, device: torch.device) -> Comparison:
    thresholds = None
    if loss.loss_type in HUBER_LOSSES:
        thresholds = huber_thresholds(loss.huber_schedule, loss.huber_c, loss.huber_scale, schedule).to(device)
    return Comparison(loss.loss_type, thresholds, loss.unmasked_weight, loss.normalize_masked_loss)


def timestep_weights(loss: LossOptions, schedule: NoiseSchedule, predicts_velocity: bool) -> torch.Tensor | None:
    """What the loss at each timestep is multiplied with: the product of all that is asked for. Shape (1000,); None if
    nothing is."""
    factors = []
    if loss.min_snr_gamma:
        weights_of = soft_min_snr_weights if loss.soft_min_snr else min_snr_weights
        factors.append(weights_of(schedule, loss.min_snr_gamma, predicts_velocity))
    if loss.scale_v_pred_loss_like_noise_pred:
        factors.append(velocity_as_noise_weights(schedule))
    if loss.v_pred_like_loss:
        factors.append(with_velocity_weights(schedule, loss.v_pred_like_loss))
    if loss.debiased_estimation_loss:
        factors.append(debiased_weights(schedule, predicts_velocity))
    if loss.p2_gamma:
        factors.append(p2_weights(schedule, loss.p2_gamma, loss.p2_k, predicts_velocity))
    return reduce(torch.mul, factors) if factors else None
