"""Images without a caption: a few are told, many keep a run from starting."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from library.dataset.findings import Findings, examples
from library.dataset.image_files import IMAGE_EXTENSIONS
from library.dataset.records import Dataset, ImageRecord
from library.options.dataset_settings import SubsetSettings

ONE_IN = 10
"""One in so many images may have no caption: with more of them, the captions were probably not found."""
_NO_CAPTIONS = frozenset({*IMAGE_EXTENSIONS, ".npz"})
"""Lie beside images and are no text; .npz holds latents of kohya's scripts."""


def check_missing_captions(datasets: Sequence[Dataset], findings: Findings) -> None:
    """Counts over all images that are trained on or validated with. Regularisation images and subsets that allow it
    (allow_missing_captions) never keep a run from starting."""
    strict = [record for record, subset in _images(datasets) if not (subset.is_reg or subset.allow_missing_captions)]
    missing = sum(not record.has_caption for record in strict)
    if missing * ONE_IN <= len(strict):
        findings.warnings += [f"{text}; they are trained with an empty one" for text in _folders(datasets)]
        return
    findings.problems.append(
        f"{missing} of {len(strict)} training images have no caption, which is more than a tenth: write captions, or "
        "class_tokens as the caption of such images, or allow empty captions with --allow_missing_captions. "
        + "; ".join(_folders(datasets))
    )


def _images(datasets: Sequence[Dataset]) -> Iterator[tuple[ImageRecord, SubsetSettings]]:
    for dataset in datasets:
        for record in (*dataset.records, *dataset.held_out):
            yield record, dataset.settings.subsets[record.subset]


def _folders(datasets: Sequence[Dataset]) -> list[str]:
    """What is missing in each folder, whose images several datasets may use."""
    images: dict[tuple[int, int], list[ImageRecord]] = defaultdict(list)
    subsets: dict[tuple[int, int], SubsetSettings] = {}
    for record, subset in _images(datasets):
        images[record.dataset, record.subset].append(record)
        subsets[record.dataset, record.subset] = subset
    texts = [
        _about_folder([record.path for record in records if not record.has_caption], len(records), subsets[key])
        for key, records in images.items()
        if not all(record.has_caption for record in records)
    ]
    return list(dict.fromkeys(texts))


def _about_folder(without: Sequence[Path], num_images: int, subset: SubsetSettings) -> str:
    if subset.metadata_file is not None:
        return (
            f"{len(without)} of {num_images} images in '{subset.metadata_file}' have neither a caption nor tags: "
            f"{examples(without)}"
        )
    return (
        f"{len(without)} of {num_images} images in '{subset.image_dir}' have no {wanted_files(subset)}: "
        f"{examples(without)}{what_lies_beside(without)}"
    )


def wanted_files(subset: SubsetSettings) -> str:
    """What was looked for."""
    return f"{' or '.join(subset.caption_extensions)} file"


def what_lies_beside(images: Sequence[Path]) -> str:
    """A remark on files that may be the captions of these images, whatever their extension; empty if there are none."""
    stems = {(image.parent, image.stem) for image in images}
    counts = Counter(
        file.suffix
        for folder in {image.parent for image in images}
        for file in folder.iterdir()
        if (folder, file.stem) in stems and file.suffix and file.suffix.lower() not in _NO_CAPTIONS and file.is_file()
    )
    if not counts:
        return ""
    kinds = counts.most_common()
    found = ", ".join(f"{count} of them a {suffix} file" for suffix, count in kinds)
    return f" (but {found}; --caption_extension {kinds[0][0]} uses those)"
