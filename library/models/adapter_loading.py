"""From a request to a model of any family; nothing heavy is imported before a model is asked for."""

from typing import TYPE_CHECKING

from library.models.family import SD1, SD2, SDXL
from library.models.model_source import SourceKind

if TYPE_CHECKING:
    from library.models.adapter import ModelAdapter
    from library.models.model_parts import ModelRequest


def load_model(request: "ModelRequest") -> "ModelAdapter":
    """
    Raises:
        UserError: the model is damaged or incomplete.
    """
    from library.models.checkpoints.diffusers_folder import load_diffusers_folder
    from library.models.checkpoints.single_file import load_single_file
    from library.models.family_forms import SD1_FORM, SD2_FORM, SDXL_FORM
    from library.models.sdxl.adapter import StableDiffusionXL
    from library.models.stable_diffusion.adapter import StableDiffusion

    form, adapter = {
        SD1.name: (SD1_FORM, StableDiffusion),
        SD2.name: (SD2_FORM, StableDiffusion),
        SDXL.name: (SDXL_FORM, StableDiffusionXL),
    }[request.family.name]
    load_parts = load_single_file if request.source.kind is SourceKind.FILE else load_diffusers_folder
    return adapter(request, load_parts(request, form))
