"""The images of a subset with their captions and masks, as folders and metadata files tell them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from library.dataset.captions.caption_scan import read_captions
from library.dataset.findings import Findings
from library.dataset.images.image_files import IMAGE_EXTENSIONS, find_pictures, folder_trouble, packages_for
from library.dataset.records import ListedImage
from library.dataset.scanning.mask_files import find_masks
from library.dataset.scanning.metadata_files import read_metadata
from library.options.dataset_settings import SubsetSettings
from library.wording import counted


def list_images(subset: SubsetSettings, findings: Findings) -> list[ListedImage]:
    """What the subset's metadata file lists; without one, what its folder holds."""
    if subset.metadata_file is not None:
        return read_metadata(subset, findings)
    folder, masks_folder = subset.image_dir, subset.conditioning_data_dir
    try:
        found = find_pictures(folder, subset.recursive, without=() if masks_folder is None else [masks_folder])
    except OSError as error:
        findings.problems.append(f"image folder '{folder}': {folder_trouble(folder, error)}")
        return []
    paths = found.images
    if not paths:
        findings.problems.append(_about_no_images(subset))
    if found.unsupported:
        findings.warnings.append(_about_unused_pictures(found.unsupported, subset))
    captions = read_captions(paths, subset, findings)
    masks = find_masks(paths, subset, findings)
    return [
        ListedImage(path, path.relative_to(folder).as_posix(), caption, mask)
        for path, caption, mask in zip(paths, captions, masks, strict=True)
    ]


def _about_no_images(subset: SubsetSettings) -> str:
    text = f"image folder '{subset.image_dir}' holds no images ({', '.join(IMAGE_EXTENSIONS)})"
    return text if subset.recursive else f"{text}; folders inside it are only searched with --recursive"


def _about_unused_pictures(unused: Sequence[Path], subset: SubsetSettings) -> str:
    counts = Counter(path.suffix.lower() for path in unused)
    kinds = ", ".join(counted(count, f"{extension} file") for extension, count in sorted(counts.items()))
    return (
        f"not used, since the format cannot be read: {kinds} in '{subset.image_dir}'; install what reads it (pip "
        f"install {packages_for(counts)}), or save as .png"
    )
