"""Pictures that say how much each pixel of an image counts: one for each image, in a folder of their own."""

import contextlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from library.dataset.findings import Findings, examples
from library.dataset.images.image_files import find_images, folder_trouble
from library.dataset.records import ListedImage
from library.options.dataset_settings import SubsetSettings
from library.wording import counted


def find_masks(images: Sequence[Path], subset: SubsetSettings, findings: Findings) -> list[Path | None]:
    """The mask of each image of a subset: in its conditioning_data_dir, of the same name but for the extension.

    Masks of images in sub-folders are in sub-folders of the same names. Images without a mask are a problem that
    names all of them.
    """
    folder = subset.conditioning_data_dir
    if folder is None:
        return [None] * len(images)
    try:
        masks = _by_stem(folder, find_images(folder, subset.recursive, without=[subset.image_dir]))
    except OSError as error:
        findings.problems.append(f"conditioning_data_dir '{folder}': {folder_trouble(folder, error)}")
        return [None] * len(images)
    stems = [_stem(image, subset.image_dir) for image in images]
    missing = [image.name for image, stem in zip(images, stems, strict=True) if stem not in masks]
    if missing:
        findings.problems.append(
            f"no mask of the same name in '{folder}': {len(missing)} of {counted(len(images), 'image')} in "
            f"'{subset.image_dir}': {', '.join(missing)}; add masks (white counts fully), or move such images "
            "to a subset without conditioning_data_dir"
        )
    for stem in sorted(set(stems) & masks.keys()):
        if len(masks[stem]) > 1:
            names = " and ".join(mask.name for mask in masks[stem])
            findings.problems.append(f"'{folder}' holds several masks for one image: {names}; keep one of them")
    return [masks[stem][0] if stem in masks else None for stem in stems]


def report_unused_masks(listed: Sequence[tuple[SubsetSettings, Sequence[ListedImage]]], findings: Findings) -> None:
    """A warning for each folder that holds masks of no image, whichever of the subsets' folders that is in.

    Args:
        listed: the subsets of a dataset with their images.
    """
    used = {image.mask_path for _, images in listed for image in images}
    image_dirs: dict[tuple[Path, bool], list[Path]] = defaultdict(list)
    for subset, _ in listed:
        if subset.conditioning_data_dir is not None:
            image_dirs[subset.conditioning_data_dir, subset.recursive].append(subset.image_dir)
    for (folder, recursive), folders_of_images in image_dirs.items():
        with contextlib.suppress(OSError):  # reported where the masks are listed
            unused = [mask for mask in find_images(folder, recursive, folders_of_images) if mask not in used]
            if unused:
                what = f"{counted(len(unused), 'mask')} in '{folder}'"
                findings.warnings.append(f"belonging to no image: {what}: {examples(unused)}")


def masks_of_folder(masks: Path, images: Path) -> Path:
    """Where the masks of one of several folders of images are: in a folder of the same name, else with all others."""
    own = masks / images.name
    return own if own.is_dir() else masks


def _by_stem(folder: Path, files: Sequence[Path]) -> dict[Path, list[Path]]:
    masks: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        masks[_stem(file, folder)].append(file)
    return dict(masks)


def _stem(file: Path, folder: Path) -> Path:
    return file.relative_to(folder).with_suffix("")
