"""Noise, timesteps and loss."""

from pathlib import Path
from typing import ClassVar, Literal

from library.options.declaration import OptionGroup, option


class NoiseOptions(OptionGroup):
    title: ClassVar[str] = "Noise"

    noise_offset: float | None = option(
        ge=0, help="Strength of one constant noise value added per image and channel; 0.05 to 0.1 is usual."
    )
    noise_offset_random_strength: bool = option(
        False, help="Draw the offset's strength for each image, between 0 and --noise_offset."
    )
    adaptive_noise_scale: float | None = option(
        help="Add this times the size of each latent channel's mean to --noise_offset; the sum is never below 0."
    )
    multires_noise_iterations: int | None = option(
        ge=0, help="Most levels of multi-resolution (pyramid) noise, 6 to 10 is usual; 0 or not given = none."
    )
    multires_noise_discount: float = option(
        0.3, ge=0, le=1, help="Strength of each level relative to the one before; 0.1 to 0.3 is usual."
    )
    ip_noise_gamma: float | None = option(
        ge=0, help="Strength of extra noise on the model's input only (input perturbation); 0.1 is usual."
    )
    ip_noise_gamma_random_strength: bool = option(
        False, help="Draw that strength for each image, between 0 and --ip_noise_gamma."
    )
    zero_terminal_snr: bool = option(False, help="Change the noise schedule so that its last step is pure noise.")


class TimestepOptions(OptionGroup):
    title: ClassVar[str] = "Timesteps"

    min_timestep: int | None = option(ge=0, le=999, help="Smallest timestep drawn; default 0.")
    max_timestep: int | None = option(
        ge=1, le=1000, help="Timesteps drawn are below this; default 1000. Equal to --min_timestep = only that one."
    )
    timestep_sampling: Literal["uniform", "logit_normal", "cosine"] = option(
        "uniform",
        help="How often each timestep of the range is drawn: all alike, mostly the middle (logit_normal: "
        "--logit_mean and --logit_std say where and how much; with 0 and 1 it is what other trainers call sigmoid), or "
        "the middle twice as often as the ends (cosine).",
    )
    logit_mean: float = option(
        0.0, help="Where logit_normal has its middle: 0 = halfway, above 0 = noisier, below 0 = cleaner."
    )
    logit_std: float = option(1.0, gt=0, help="Width of logit_normal: 1 is usual; below that, narrower.")
    stratified_timesteps: bool = option(
        False,
        help="Neighbouring images cover the range of timesteps evenly, whatever the batch size, "
        "instead of each drawing for itself.",
    )


class LossOptions(OptionGroup):
    title: ClassVar[str] = "Loss"

    loss_type: Literal["l2", "l1", "huber", "smooth_l1"] = option(
        "l2",
        help="How the prediction is compared with its target: squared, by the absolute error, or squared below the "
        "Huber threshold and absolute above it (smooth_l1 is huber divided by the threshold).",
    )
    huber_schedule: Literal["constant", "exponential", "snr"] = option(
        "snr",
        help="Huber threshold at each timestep: --huber_c everywhere, or falling from 1 at the least noise to "
        "--huber_c at the most, evenly on a logarithmic scale or with the SNR.",
    )
    huber_c: float = option(0.1, gt=0, help="Huber threshold; 0.1 to 1 is usual.")
    huber_scale: float = option(1.0, gt=0, help="Multiplier of the Huber threshold, whatever its schedule.")
    min_snr_gamma: float | None = option(
        ge=0, help="Min-SNR weighting with this gamma, usually 5; 0 or not given = equal weights."
    )
    soft_min_snr: bool = option(
        False, help="Min-SNR weighting without the bend where SNR = gamma; needs --min_snr_gamma."
    )
    debiased_estimation_loss: bool = option(
        False, help="Weight the loss by 1/sqrt(SNR), or 1/(SNR + 1) with --v_parameterization."
    )
    p2_gamma: float | None = option(
        ge=0, help="P2 weighting, 1/(k + SNR)^gamma, with this gamma, 0.5 or 1; 0 or not given = off."
    )
    p2_k: float = option(1.0, gt=0, help="The k of P2 weighting.")
    scale_v_pred_loss_like_noise_pred: bool = option(
        False, help="Weight a v-prediction loss like a noise-prediction loss, by SNR/(SNR + 1)."
    )
    v_pred_like_loss: float | None = option(
        ge=0, help="Add this share of a v-prediction-like loss to a noise-prediction loss; 0 or not given = off."
    )
    prior_loss_weight: float = option(1.0, ge=0, help="Weight of regularisation images in the loss.")
    masked_loss: bool = option(
        False, help="Weight the loss by masks: --conditioning_data_dir, or a dataset file's key of this name."
    )
    conditioning_data_dir: Path | None = option(
        help="Folder with one mask per image of --train_data_dir, of the same name but for the extension: directly in "
        "it or in folders named as those of the images. White counts fully, black not at all."
    )
    unmasked_weight: float = option(
        0.0, ge=0, le=1, help="How much counts what masks leave out, from 0 (not at all) to 1 (fully)."
    )
    normalize_masked_loss: bool = option(
        False,
        help="Divide the loss of each image by the mean of its mask, so that small masks weigh as much as large ones.",
    )
