"""From the images of a class of the user's own to a dataset."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from library.dataset.buckets.placement_rule import placement_rule
from library.dataset.findings import Findings, SkippedImage
from library.dataset.records import Dataset, ImageRecord, ListedImage
from library.dataset.scanning.custom_dataset import (
    CustomDataset,
    CustomPictures,
    WrongAnswerError,
    count_images,
    listed_image,
    repeats_of,
    sizes_of,
)
from library.dataset.scanning.image_scan import report_skipped
from library.dataset.scanning.scan import make_record, report_too_small
from library.options.dataset_settings import DatasetSettings
from library.options.groups.dataset import UnreadableImages
from library.wording import counted

Answer = TypeVar("Answer")


def scan_custom_dataset(
    source: CustomDataset, settings: DatasetSettings, unreadable: UnreadableImages, findings: Findings
) -> tuple[Dataset, CustomPictures]:
    """Everything about the images except their pixels, as if they were those of the only subset.

    What is wrong is added to `findings`; the dataset then holds only what is right.
    """
    images = _list_images(source, settings.subsets[0].image_dir, findings)
    records = _place_images(source, images, settings, unreadable, findings) if images else []
    indices = {image.name: index for index, image in enumerate(images)}
    return Dataset(settings, tuple(records)), CustomPictures(source, indices)


def _list_images(source: CustomDataset, origin: Path, findings: Findings) -> list[ListedImage]:
    """All of them; none if anything is wrong."""
    try:
        count = count_images(source)
    except WrongAnswerError as error:
        findings.problems.append(f"--dataset_class {origin}: {error}")
        return []
    images = _answers(lambda index: listed_image(source, index), count, origin, findings)
    names = Counter(image.name for image in images)
    name, uses = names.most_common(1)[0] if names else ("", 0)
    if uses > 1:
        findings.problems.append(
            f"--dataset_class {origin}: name() says '{name}' {uses} times; each image needs a name of its own"
        )
        return []
    return images


def _place_images(
    source: CustomDataset,
    images: list[ListedImage],
    settings: DatasetSettings,
    unreadable: UnreadableImages,
    findings: Findings,
) -> list[ImageRecord]:
    subset = settings.subsets[0]
    count = len(images)
    place = placement_rule(settings, findings)
    repeats = _answers(lambda index: repeats_of(source, index, subset.num_repeats), count, subset.image_dir, findings)
    if not repeats:
        return []
    records, skipped, too_small = [], [], []
    for image, uses, size in zip(images, repeats, sizes_of(source, count), strict=True):
        if isinstance(size, str):
            skipped.append(SkippedImage(image.path, size))
        elif (placement := place(size)) is None:
            too_small.append(image.path)
        elif uses:
            records.append(replace(make_record(0, 0, subset, image, size, placement), repeats=uses))
    report_skipped(skipped, count, subset.image_dir, unreadable, findings)
    report_too_small(too_small, records, settings, findings)
    return records


def _answers(ask: Callable[[int], Answer], count: int, origin: Path, findings: Findings) -> list[Answer]:
    """One for each image; none if any is wrong, which is told with the first example."""
    answers, errors = [], []
    for index in range(count):
        try:
            answers.append(ask(index))
        except WrongAnswerError as error:
            errors.append(str(error))
    if not errors:
        return answers
    others = f", and so for {counted(len(errors) - 1, 'other image')} of {count}" if len(errors) > 1 else ""
    findings.problems.append(f"--dataset_class {origin}: {errors[0]}{others}")
    return []
