"""Samplers by the names that --sample_sampler and --ss know."""

from typing import Any

from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler

from library.diffusion.noise_schedule import BETA_END, BETA_START, NUM_TIMESTEPS
from library.models.family import VELOCITY

_SHARED = {
    "num_train_timesteps": NUM_TIMESTEPS,
    "beta_start": BETA_START,
    "beta_end": BETA_END,
    "beta_schedule": "scaled_linear",
}


def build_sampler(name: str, prediction_type: str, steps: int, zero_terminal_snr: bool = False) -> Any:
    """A fresh diffusers scheduler; its `set_timesteps` is still to be called. Unlike previews elsewhere, the
    predicted picture is never clipped to -1..1, since latents reach beyond that.

    Args:
        steps: how many will be taken.
        zero_terminal_snr: begin at pure noise, as models trained with it need; only for velocity prediction, since
            pure noise holds nothing that noise prediction could start from.

    Raises:
        ValueError: there is no sampler of that name.
    """
    predicts_velocity = prediction_type == VELOCITY
    common: dict[str, Any] = {**_SHARED, "prediction_type": "v_prediction" if predicts_velocity else prediction_type}
    if zero_terminal_snr and predicts_velocity:
        # the last timestep must be among those taken (Lin et al. 2023, arXiv 2305.08891, section 3.3)
        common |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    match name.removeprefix("k_"):
        case "ddim":
            # timesteps 1, 21, 41, ... as elsewhere; but with every timestep there are, the last would be 1000 of 0..999
            offset = 1 if steps < NUM_TIMESTEPS else 0
            return DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=False, steps_offset=offset)
        case "euler":
            return EulerDiscreteScheduler(**common)
        case "euler_a":
            return EulerAncestralDiscreteScheduler(**common)
    raise ValueError(f"there is no sampler '{name}'")
