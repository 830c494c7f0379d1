"""Finds the images and captions of a dataset and decides where each belongs, without reading pixels."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from library.dataset.buckets.aspect_buckets import Placement, Size
from library.dataset.buckets.placement_rule import placement_rule
from library.dataset.findings import Findings, examples
from library.dataset.records import Dataset, ImageRecord, ListedImage
from library.dataset.scanning.image_scan import ImageReading, read_image_sizes
from library.dataset.scanning.mask_files import report_unused_masks
from library.dataset.scanning.subset_images import list_images
from library.options.dataset_settings import DatasetSettings, SubsetSettings
from library.wording import counted


def scan_dataset(
    index: int, settings: DatasetSettings, findings: Findings, reading: ImageReading | None = None
) -> Dataset:
    """Everything about a dataset that its files' names, headers and captions tell.

    What is wrong is added to `findings`; the dataset then holds only what is right.

    Args:
        reading: how images are looked at; None = by themselves, and without those that cannot be read.
    """
    reading = ImageReading() if reading is None else reading
    place = placement_rule(settings, findings)
    records: list[ImageRecord] = []
    too_small: list[Path] = []
    used = list(_used_subsets(settings, findings))
    _report_overlaps([subset for _, subset in used], findings)
    listed = [list_images(subset, findings) for _, subset in used]
    report_unused_masks([(subset, images) for (_, subset), images in zip(used, listed, strict=True)], findings)
    for (number, subset), images in zip(used, listed, strict=True):
        sizes = read_image_sizes(images, subset.metadata_file or subset.image_dir, reading, findings)
        for image in images:
            if image.path not in sizes:
                continue
            size = sizes[image.path]
            placement = place(size)
            if placement is None:
                too_small.append(image.path)
            else:
                records.append(make_record(index, number, subset, image, size, placement))
    report_too_small(too_small, records, settings, findings)
    return Dataset(settings, tuple(records))


def _used_subsets(settings: DatasetSettings, findings: Findings) -> Iterator[tuple[int, SubsetSettings]]:
    """Subsets with their numbers, which the others keep when one is left out: they seed the images' draws."""
    used: set[tuple[str | None, ...]] = set()
    for number, subset in enumerate(settings.subsets):
        source = subset.metadata_file or subset.image_dir
        identity = _identity(subset)
        if subset.num_repeats < 1:
            findings.warnings.append(f"'{source}' is not used: it has 0 repeats (num_repeats)")
        elif identity in used:
            findings.warnings.append(
                f"'{source}' is used by another subset of the same dataset already: subset {number + 1} is left out"
            )
        else:
            used.add(identity)
            yield number, subset


def _identity(subset: SubsetSettings) -> tuple[str | None, ...]:
    """Equal for subsets that are the same images, however their paths are written."""
    masks = subset.conditioning_data_dir
    if subset.metadata_file is not None:
        return (os.path.realpath(subset.metadata_file),)
    return (os.path.realpath(subset.image_dir), None if masks is None else os.path.realpath(masks))


def _report_overlaps(subsets: Sequence[SubsetSettings], findings: Findings) -> None:
    """Folders of their own that a search of another subset enters, too."""
    folders = [subset for subset in subsets if subset.metadata_file is None]
    real = {subset.image_dir: Path(os.path.realpath(subset.image_dir)) for subset in folders}
    for outer in folders:
        for inner in folders:
            if outer.recursive and real[outer.image_dir] in real[inner.image_dir].parents:
                findings.warnings.append(
                    f"'{inner.image_dir}' lies in '{outer.image_dir}', which is searched with recursive: both subsets "
                    "use its images"
                )


def make_record(
    dataset: int, number: int, subset: SubsetSettings, image: ListedImage, size: Size, placement: Placement
) -> ImageRecord:
    return ImageRecord(
        dataset=dataset,
        subset=number,
        name=image.name,
        path=image.path,
        size=size,
        placement=placement,
        caption=image.caption or "",
        repeats=subset.num_repeats,
        is_reg=subset.is_reg,
        alpha_mask=subset.alpha_mask,
        mask_path=image.mask_path,
        has_caption=image.caption is not None,
    )


def report_too_small(
    too_small: Sequence[Path], kept: Sequence[ImageRecord], settings: DatasetSettings, findings: Findings
) -> None:
    if not too_small:
        return
    if settings.enforce_bucket_limits:
        reason = f"smaller than min_bucket_reso {settings.min_bucket_reso} allows"
        remedy = "give a smaller min_bucket_reso"
    else:
        reason = f"a side would be shorter than bucket_reso_steps {settings.bucket_reso_steps}"
        remedy = "enforce_bucket_limits would crop those that are long and thin"
    findings.warnings.append(
        f"left out, since bucket_no_upscale forbids enlarging: {counted(len(too_small), 'image')}, {reason}: "
        f"{examples(too_small)}; {remedy}"
    )
    if not kept:
        findings.problems.append(
            "no image is left to train: all are smaller than one bucket step; "
            "leave out --bucket_no_upscale or give a smaller --bucket_reso_steps"
        )
