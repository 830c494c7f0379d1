"""Where a base model comes from, judged before anything heavy is imported."""

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

MODEL_OPTION = "pretrained_model_name_or_path"

MODEL_EXTENSIONS = frozenset({".safetensors", ".ckpt", ".pt", ".pth", ".bin"})
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


def find_model(name_or_path: str) -> ModelSource | str:
    """The source a user named, or a message that says why there is none."""
    path = Path(name_or_path).expanduser()
    option = f"--{MODEL_OPTION} '{name_or_path}'"
    if path.is_dir():
        if (path / "unet").is_dir():
            return ModelSource(SourceKind.FOLDER, str(path))
        return f"{option} is a folder, but not a diffusers model: it has no sub-folder 'unet'"
    if path.is_file():
        if path.suffix.lower() in MODEL_EXTENSIONS:
            return ModelSource(SourceKind.FILE, str(path))
        return f"{option} is a file of an unknown kind; model files end in .safetensors or .ckpt"
    if _HUB_ID.fullmatch(name_or_path) and path.suffix.lower() not in MODEL_EXTENSIONS:
        return ModelSource(SourceKind.HUB, name_or_path)
    return f"{option}: there is no such file or folder"
