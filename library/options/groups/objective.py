"""Noise, timesteps and loss."""

from pathlib import Path
from typing import ClassVar, Literal

from library.options.declaration import OptionGroup, option

OBJECTIVES = "the remaining training objectives"


class NoiseOptions(OptionGroup):
    title: ClassVar[str] = "Noise"

    noise_offset: float | None = option(
        ge=0, help="Strength of one constant noise value added per image and channel; 0.05 to 0.1 is usual."
    )
    noise_offset_random_strength: bool = option(
        False, help="Draw the offset's strength between 0 and --noise_offset.", pending=OBJECTIVES
    )
    adaptive_noise_scale: float | None = option(
        help="Add this times the latents' mean size to --noise_offset.", pending=OBJECTIVES
    )
    multires_noise_iterations: int | None = option(
        ge=0, help="Levels of multi-resolution (pyramid) noise.", pending=OBJECTIVES
    )
    multires_noise_discount: float = option(
        0.3, ge=0, le=1, help="Strength of each level relative to the one before.", pending=OBJECTIVES
    )
    ip_noise_gamma: float | None = option(
        ge=0, help="Strength of extra noise on the model's input only.", pending=OBJECTIVES
    )
    ip_noise_gamma_random_strength: bool = option(
        False, help="Draw that strength between 0 and --ip_noise_gamma.", pending=OBJECTIVES
    )
    zero_terminal_snr: bool = option(False, help="Change the noise schedule so that its last step is pure noise.")


class TimestepOptions(OptionGroup):
    title: ClassVar[str] = "Timesteps"

    min_timestep: int | None = option(ge=0, le=999, help="Smallest timestep drawn; default 0.")
    max_timestep: int | None = option(ge=1, le=1000, help="Timesteps drawn are below this; default 1000.")


class LossOptions(OptionGroup):
    title: ClassVar[str] = "Loss"

    min_snr_gamma: float | None = option(
        ge=0, help="Min-SNR weighting with this gamma, usually 5; 0 or not given = equal weights."
    )
    prior_loss_weight: float = option(1.0, ge=0, help="Weight of regularisation images in the loss.")
    loss_type: Literal["l2", "l1", "huber", "smooth_l1"] = option(
        "l2", help="How the prediction is compared with its target.", pending=OBJECTIVES
    )
    huber_schedule: Literal["constant", "exponential", "snr"] = option(
        "snr", help="How the Huber threshold depends on the timestep.", pending=OBJECTIVES
    )
    huber_c: float = option(0.1, gt=0, help="Huber threshold.", pending=OBJECTIVES)
    huber_scale: float = option(1.0, gt=0, help="Multiplier of the Huber threshold.", pending=OBJECTIVES)
    debiased_estimation_loss: bool = option(False, help="Weight the loss by 1/sqrt(SNR).", pending=OBJECTIVES)
    scale_v_pred_loss_like_noise_pred: bool = option(
        False, help="Weight a v-prediction loss like a noise-prediction loss.", pending=OBJECTIVES
    )
    v_pred_like_loss: float | None = option(help="Add this much of a v-prediction-like loss.", pending=OBJECTIVES)
    masked_loss: bool = option(
        False, help="Weight the loss by masks: --conditioning_data_dir, or a dataset file's key of this name."
    )
    conditioning_data_dir: Path | None = option(
        help="Folder with one mask per image of --train_data_dir, of the same name but for the extension: directly in "
        "it or in folders named as those of the images. White counts fully, black not at all."
    )
