"""How each entry script loads its models; nothing heavy is imported before a model is asked for."""

from typing import TYPE_CHECKING

from library.models.model_source import ModelSource

if TYPE_CHECKING:
    from library.models.adapter import ModelAdapter, ModelPrecision


def load_sd1(source: ModelSource, precision: "ModelPrecision") -> "ModelAdapter":
    """
    Raises:
        UserError: the model is missing, damaged or of another family.
    """
    from library.models.stable_diffusion.loading import load_stable_diffusion_1

    return load_stable_diffusion_1(source, precision)
