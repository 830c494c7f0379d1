"""From what a user names to a loaded model of whichever family it is; for tools, which have few other options."""

from pathlib import Path

from library.errors import UserError
from library.models.adapter import ModelAdapter
from library.models.adapter_loading import load_model
from library.models.hub import Hub
from library.models.inspection import inspect_model, trained_family
from library.models.model_parts import ModelPrecision, ModelRequest
from library.models.model_source import ModelSource, SourceKind, find_model


def load_named_model(name: str, option: str) -> ModelAdapter:
    """A base model from a file, a diffusers folder or a hub, on the CPU, in the precision that its files have.

    Args:
        option: with which the user named it, without dashes, for messages.

    Raises:
        UserError: there is no such model, it is damaged, or of a family that is not known here.
    """
    source = find_model(name, option)
    if isinstance(source, str):
        raise UserError(source)
    if source.kind is SourceKind.HUB:
        fetched: Path = Hub().fetch_model(source.place, option)
        source = ModelSource(SourceKind.FOLDER, str(fetched))
    identity = inspect_model(source, option)
    family = trained_family(identity)
    if family is None:
        raise UserError(f"--{option} '{name}' looks like {identity.kind.value}; give a whole base model")
    return load_model(ModelRequest(source, family, ModelPrecision(None, None)))
