"""Images without a caption: a few are told, many keep a run from starting."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from library.dataset.findings import Findings, examples
from library.dataset.images.image_files import IMAGE_EXTENSIONS
from library.dataset.records import Dataset, ImageRecord
from library.options.dataset_settings import SubsetSettings
from library.wording import counted

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
        findings.warnings += [f"{text}; trained with an empty caption" for text in _folders(datasets)]
        return
    findings.problems.append(
        f"without a caption: {missing} of {counted(len(strict), 'training image')}, which is more than a tenth: "
        f"{'; '.join(_folders(datasets))}; write captions, or class_tokens as the caption of such images, or allow "
        "empty captions with --allow_missing_captions"
    )


def _images(datasets: Sequence[Dataset]) -> Iterator[tuple[ImageRecord, SubsetSettings]]:
    for dataset in datasets:
        for record in (*dataset.records, *dataset.held_out):
            yield record, dataset.rules_of(record)


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
    share = f"{len(without)} of {counted(num_images, 'image')}"
    if subset.metadata_file is not None:
        return f"neither a caption nor tags: {share} in '{subset.metadata_file}': {examples(without)}"
    beside = what_lies_beside(without)
    return f"no {wanted_files(subset)}: {share} in '{subset.image_dir}': {examples(without)}{beside}"


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
    found = ", ".join(counted(count, f"{suffix} file") for suffix, count in kinds)
    most_frequent = kinds[0][0]
    return f" (but found: {found}; --caption_extension {most_frequent} uses {most_frequent} files)"
