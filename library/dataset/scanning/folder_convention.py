"""Folders named REPEATS_CLASS, such as '10_sks dog', inside --train_data_dir and --reg_data_dir."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class FolderName:
    num_repeats: int
    class_tokens: str


def parse_folder_name(name: str) -> FolderName | None:
    """'10_sks dog' -> 10, 'sks dog'; None when the name does not begin with a whole number of at least 0."""
    number, *words = name.split("_")
    try:
        repeats = int(number)
    except ValueError:
        return None
    return FolderName(repeats, "_".join(words)) if repeats >= 0 else None


@dataclass(frozen=True)
class FoundFolders:
    subsets: list[dict[str, Any]]
    """For each folder the keys of a subset that its name and place determine; those with 0 repeats are among them."""
    ignored: list[Path]
    """Folders whose names do not follow the convention."""


def find_folders(parent: Path, is_reg: bool) -> FoundFolders:
    """The REPEATS_CLASS folders of `parent` by name. Hidden ones, such as our own caches, are not looked at.

    Raises:
        OSError: `parent` is not a readable folder.
    """
    subsets: list[dict[str, Any]] = []
    ignored = []
    for folder in sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")):
        parsed = parse_folder_name(folder.name)
        if parsed is None:
            ignored.append(folder)
            continue
        subsets.append(
            {
                "image_dir": folder,
                "num_repeats": parsed.num_repeats,
                "class_tokens": parsed.class_tokens,
                "is_reg": is_reg,
            }
        )
    return FoundFolders(subsets, ignored)
