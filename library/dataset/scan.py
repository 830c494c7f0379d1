"""Finds the images and captions of a dataset and decides where each belongs, without reading pixels."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from library.dataset.aspect_buckets import Placement, Size
from library.dataset.caption_scan import read_captions
from library.dataset.findings import Findings, examples
from library.dataset.image_files import (
    IMAGE_EXTENSIONS,
    UnreadableImageError,
    find_images,
    find_other_pictures,
    read_image_size,
)
from library.dataset.placement_rule import placement_rule
from library.dataset.records import Dataset, ImageRecord
from library.dataset.regularisation import regularisation_repeats
from library.options.dataset_settings import DatasetSettings, SubsetSettings

HEADER_READERS = 8


@dataclass(frozen=True)
class _Image:
    """An image of a subset on its way to becoming a record."""

    path: Path
    size: Size
    caption: str


def scan_dataset(index: int, settings: DatasetSettings, findings: Findings) -> Dataset:
    """Everything about a dataset that its files' names, headers and captions tell.

    What is wrong is added to `findings`; the dataset then holds only what is right.
    """
    place = placement_rule(settings, findings)
    records: list[ImageRecord] = []
    too_small: list[Path] = []
    for number, subset in _used_subsets(settings, findings):
        for image in _scan_subset(subset, findings):
            placement = place(image.size)
            if placement is None:
                too_small.append(image.path)
            else:
                records.append(_record(index, number, subset, image, placement))
    _report_too_small(too_small, records, settings, findings)
    return Dataset(settings, tuple(_balance_regularisation(records, findings)))


def _used_subsets(settings: DatasetSettings, findings: Findings) -> Iterator[tuple[int, SubsetSettings]]:
    """Subsets with their numbers, which the others keep when one is left out: they seed the images' draws."""
    used: set[Path] = set()
    for number, subset in enumerate(settings.subsets):
        if subset.num_repeats < 1:
            findings.warnings.append(f"'{subset.image_dir}' is not used: it has 0 repeats (num_repeats)")
        elif subset.image_dir in used:
            findings.warnings.append(
                f"'{subset.image_dir}' is used by another subset of the same dataset already: subset {number + 1} is "
                "left out"
            )
        else:
            used.add(subset.image_dir)
            yield number, subset


def _record(dataset: int, number: int, subset: SubsetSettings, image: _Image, placement: Placement) -> ImageRecord:
    return ImageRecord(
        dataset=dataset,
        subset=number,
        name=image.path.relative_to(subset.image_dir).as_posix(),
        path=image.path,
        size=image.size,
        placement=placement,
        caption=image.caption,
        repeats=subset.num_repeats,
        is_reg=subset.is_reg,
    )


def _report_too_small(
    too_small: Sequence[Path], kept: Sequence[ImageRecord], settings: DatasetSettings, findings: Findings
) -> None:
    if not too_small:
        return
    findings.warnings.append(
        f"{len(too_small)} images are left out, since a side is shorter than bucket_reso_steps "
        f"{settings.bucket_reso_steps} and bucket_no_upscale forbids enlarging them: {examples(too_small)}"
    )
    if not kept:
        findings.problems.append(
            "no image is left to train: all are smaller than one bucket step; "
            "leave out --bucket_no_upscale or give a smaller --bucket_reso_steps"
        )


def _scan_subset(subset: SubsetSettings, findings: Findings) -> list[_Image]:
    try:
        paths, unused = find_images(subset.image_dir), find_other_pictures(subset.image_dir)
    except OSError as error:
        findings.problems.append(f"image folder '{subset.image_dir}': {error.strerror or error}")
        return []
    if not paths:
        findings.problems.append(
            f"image folder '{subset.image_dir}' holds no images ({', '.join(IMAGE_EXTENSIONS)}); "
            "images in folders inside it are not searched"
        )
    if unused:
        findings.warnings.append(_about_unused_pictures(unused, subset))
    captions = read_captions(paths, subset, findings)
    with ThreadPoolExecutor(HEADER_READERS) as pool:
        sizes = list(pool.map(_size_or_reason, paths))
    images = []
    for path, size, caption in zip(paths, sizes, captions, strict=True):
        if isinstance(size, str):
            findings.problems.append(f"image '{path}': {size}; replace or remove it")
        else:
            images.append(_Image(path, size, caption))
    return images


def _about_unused_pictures(unused: Sequence[Path], subset: SubsetSettings) -> str:
    counts = Counter(path.suffix.lower() for path in unused)
    kinds = ", ".join(f"{count} {extension}" for extension, count in sorted(counts.items()))
    return (
        f"pictures in '{subset.image_dir}' that are not used, since their formats cannot be read: {kinds}; "
        "save them as .png to train on them"
    )


def _size_or_reason(path: Path) -> Size | str:
    try:
        size = read_image_size(path)
    except UnreadableImageError as error:
        return str(error)
    return size.width, size.height


def _balance_regularisation(records: Sequence[ImageRecord], findings: Findings) -> list[ImageRecord]:
    """Gives every regularisation image its repeats; those that are not needed get none."""
    of_training = [record for record in records if not record.is_reg]
    regularisation = [record for record in records if record.is_reg]
    if not regularisation:
        return list(records)
    wanted = sum(record.repeats for record in of_training)
    repeats = regularisation_repeats(wanted, [record.repeats for record in regularisation])
    unused = repeats.count(0)
    if unused:
        findings.warnings.append(
            f"{unused} of {len(regularisation)} regularisation images are not used, "
            f"since there are only {wanted} training images (with repeats)"
        )
    balanced = [replace(record, repeats=times) for record, times in zip(regularisation, repeats, strict=True)]
    return of_training + balanced
