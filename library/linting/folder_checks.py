"""Findings about what else lies in the folders of a dataset."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from library.dataset.images.image_files import MISSING_PLUG_INS, find_images, find_pictures
from library.linting import kinds
from library.linting.inventory import Inventory
from library.linting.kinds import Finding
from library.options.dataset_settings import SubsetSettings
from library.wording import counted

JUNK_NAMES = frozenset({".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini"})
_RESOURCE_FORK = "._"
"""macOS writes '._name' beside 'name' on disks of other systems and into archives."""


def folder_findings(inventory: Inventory, folders: Iterable[Path]) -> Iterator[Finding]:
    """
    Args:
        folders: where the images and the folders with them lie.
    """
    used = {*inventory.by_path, *(image.mask for image in inventory.images if image.mask)}
    parents = {path.parent for path in used}
    for folder in sorted({*folders, *parents}):
        for file in _entries(folder):
            if is_junk(file):
                yield Finding(kinds.FOLDER_JUNK, (file,), "")
    for rules in inventory.subsets:
        yield from _unsupported(rules)
    yield from _unused(sorted({*folders, *(rules.image_dir for rules in inventory.subsets)}), used, parents)


def _entries(folder: Path) -> list[Path]:
    """By name; none of a folder that cannot be read, which `run.refused` tells."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def is_junk(file: Path) -> bool:
    return (file.name.lower() in JUNK_NAMES or file.name.startswith(_RESOURCE_FORK)) and file.is_file()


def _images(folder: Path) -> list[Path]:
    try:
        return find_images(folder)
    except OSError:
        return []


def _unsupported(rules: SubsetSettings) -> Iterator[Finding]:
    if rules.metadata_file is not None:
        return
    # it can be read, as images were found in it
    for file in find_pictures(rules.image_dir, rules.recursive).unsupported:
        package = MISSING_PLUG_INS[file.suffix.lower()]
        yield Finding(kinds.IMAGE_UNSUPPORTED, (file,), f"pip install {package} would read it", {"package": package})


def _unused(folders: Iterable[Path], used: set[Path], parents: set[Path]) -> Iterator[Finding]:
    """Images beside the folders that are searched, and in folders inside them."""
    searched = {parent.resolve() for parent in parents}
    for folder in folders:
        inner = [path for path in _entries(folder) if path.is_dir() and not path.name.startswith(".")]
        # links may lead round in circles
        inner = [path for path in inner if not folder.resolve().is_relative_to(path.resolve())]
        for place in (folder, *inner):
            if place.resolve() in searched:
                continue
            searched.add(place.resolve())
            images = [path for path in _images(place) if path not in used]
            if images:
                text = f"{counted(len(images), 'image')}, such as {images[0].name}"
                yield Finding(kinds.FOLDER_UNUSED, (place,), text, {"images": len(images)})
