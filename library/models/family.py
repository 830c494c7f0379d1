"""What is fixed about a model family; light enough to be known before anything is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from library.diffusion.latents import LatentLayout

EPSILON, VELOCITY = "epsilon", "v"
"""What a U-Net predicts: the noise, or the velocity (Salimans and Ho 2022, arXiv 2202.00512)."""


@dataclass(frozen=True)
class ModelFamily:
    name: str
    """As users call it."""
    script: str
    """The entry script that trains it."""
    base_model_version: str
    """ss_base_model_version in metadata."""
    architecture: str
    """modelspec.architecture of the base model."""
    implementation: str
    """modelspec.implementation"""
    is_v2: bool
    """ss_v2 in metadata, and --v2"""
    prediction_type: str
    """modelspec.prediction_type: "epsilon" or "v"."""
    default_resolution: int
    """Pixels per side the base model was trained at."""
    bucket_step: int
    """Pixels: bucket sides must be multiples of this, so that every level of the U-Net divides evenly."""
    latents: LatentLayout
    latent_scale: float
    """Latents are multiplied by this for the U-Net, so that their variance is about 1."""
    num_text_encoders: int
    num_unet_blocks: int
    """As per-block settings of networks count them; see networks.targeting.blocks."""
    uses_clip_skip: bool
    """False where the layer of the text encoders is fixed."""
    vae_overflows_in_float16: bool
    """The released VAE's activations leave float16's range on many pictures."""


_SD1_LATENTS = LatentLayout(channels=4, pixels_per_cell=8)

SD1 = ModelFamily(
    name="SD 1.x",
    script="train_network.py",
    base_model_version="sd_v1",
    architecture="stable-diffusion-v1",
    implementation="diffusers",
    is_v2=False,
    prediction_type=EPSILON,
    default_resolution=512,
    bucket_step=64,
    latents=_SD1_LATENTS,
    latent_scale=0.18215,
    num_text_encoders=1,
    num_unet_blocks=25,
    uses_clip_skip=True,
    vae_overflows_in_float16=False,
)
SD2 = replace(SD1, name="SD 2.x", base_model_version="sd_v2", architecture="stable-diffusion-v2-512", is_v2=True)
SDXL = ModelFamily(
    name="SDXL",
    script="sdxl_train_network.py",
    base_model_version="sdxl_base_v1-0",
    architecture="stable-diffusion-xl-v1-base",
    implementation="https://github.com/Stability-AI/generative-models",
    is_v2=False,
    prediction_type=EPSILON,
    default_resolution=1024,
    bucket_step=32,
    latents=_SD1_LATENTS,
    latent_scale=0.13025,
    num_text_encoders=2,
    num_unet_blocks=23,
    uses_clip_skip=False,
    vae_overflows_in_float16=True,
)
FAMILIES = (SD1, SD2, SDXL)


def predicting_velocity(family: ModelFamily) -> ModelFamily:
    """The variant of a family whose U-Net predicts velocity, with the names that metadata have for it."""
    if family == SDXL:
        return replace(family, prediction_type=VELOCITY)
    changed = replace(family, prediction_type=VELOCITY, base_model_version=f"{family.base_model_version}_v")
    if family == SD2:
        return replace(changed, architecture="stable-diffusion-v2-768-v", default_resolution=768)
    return changed


def family_of_options(families: Sequence[ModelFamily], v2: bool, v_parameterization: bool) -> ModelFamily | None:
    """What --v2 and --v_parameterization say about the model; None if the script has no such family."""
    family = next((one for one in families if one.is_v2 == v2), None)
    return predicting_velocity(family) if family is not None and v_parameterization else family
