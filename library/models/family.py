"""What is fixed about a model family; light enough to be known before anything is loaded."""

from dataclasses import dataclass

from library.diffusion.latents import LatentLayout


@dataclass(frozen=True)
class ModelFamily:
    name: str
    """As users call it."""
    base_model_version: str
    """ss_base_model_version in metadata."""
    architecture: str
    """modelspec.architecture of the base model."""
    implementation: str
    """modelspec.implementation"""
    is_v2: bool
    """ss_v2 in metadata."""
    prediction_type: str
    """modelspec.prediction_type: "epsilon" or "v"."""
    default_resolution: int
    """Pixels per side the base model was trained at."""
    bucket_step: int
    """Pixels: bucket sides must be multiples of this, so that every level of the U-Net divides evenly."""
    latents: LatentLayout
    num_text_encoders: int


SD1 = ModelFamily(
    name="SD 1.x",
    base_model_version="sd_v1",
    architecture="stable-diffusion-v1",
    implementation="diffusers",
    is_v2=False,
    prediction_type="epsilon",
    default_resolution=512,
    bucket_step=64,
    latents=LatentLayout(channels=4, pixels_per_cell=8),
    num_text_encoders=1,
)
