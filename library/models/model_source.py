"""Where a base model or a VAE comes from, judged before anything heavy is imported."""

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from library.models.checkpoints.headers import PICKLED_EXTENSIONS, SAFETENSORS_EXTENSION
from library.models.diffusers_layout import CONFIGURATION, UNET, VAE

MODEL_OPTION = "pretrained_model_name_or_path"
VAE_OPTION = "vae"

MODEL_EXTENSIONS = PICKLED_EXTENSIONS | {SAFETENSORS_EXTENSION}
_HUB_ID = re.compile(r"(?!.*(?:--|\.\.|\.git$))\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
"""Owner and name by the hub's own rule; "./model" and "../model" are paths."""


class SourceKind(Enum):
    FILE = "file"
    FOLDER = "diffusers folder"
    HUB = "hub id"


@dataclass(frozen=True)
class ModelSource:
    kind: SourceKind
    place: str


def find_model(name_or_path: str, option: str = MODEL_OPTION) -> ModelSource | str:
    """The source a user named, or a message that says why there is none."""
    path = Path(name_or_path).expanduser()
    if not path.is_dir():
        return _find_file_or_hub(name_or_path, option)
    if (path / UNET).is_dir():
        return ModelSource(SourceKind.FOLDER, str(path))
    return f"--{option} '{name_or_path}' is a folder, but not a diffusers model: it has no sub-folder '{UNET}'"


def find_vae(name_or_path: str) -> ModelSource | str:
    """The source a user named, or a message that says why there is none.

    A folder's place is that of the VAE itself, whether the user named it or the diffusers model around it.
    """
    path = Path(name_or_path).expanduser()
    if not path.is_dir():
        return _find_file_or_hub(name_or_path, VAE_OPTION)
    for folder in (path / VAE, path):
        if (folder / CONFIGURATION).is_file():
            return ModelSource(SourceKind.FOLDER, str(folder))
    return (
        f"--{VAE_OPTION} '{name_or_path}' is a folder without a VAE: "
        f"it has neither a file '{CONFIGURATION}' nor a file '{VAE}/{CONFIGURATION}'"
    )


def _find_file_or_hub(name_or_path: str, option: str) -> ModelSource | str:
    path = Path(name_or_path).expanduser()
    named = f"--{option} '{name_or_path}'"
    if path.is_file():
        if path.suffix.lower() in MODEL_EXTENSIONS:
            return ModelSource(SourceKind.FILE, str(path))
        return f"{named} is a file of an unknown kind; model files end in .safetensors or .ckpt"
    if _HUB_ID.fullmatch(name_or_path) and path.suffix.lower() not in MODEL_EXTENSIONS:
        return ModelSource(SourceKind.HUB, name_or_path)
    return f"{named}: there is no such file or folder"
