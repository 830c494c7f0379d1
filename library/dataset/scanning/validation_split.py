"""Which images are kept apart for validation."""

import contextlib
import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from library.dataset.findings import Findings, examples
from library.dataset.records import Dataset, ImageRecord
from library.options.dataset_settings import SubsetSettings
from library.randomness import derive_seed
from library.wording import counted


def num_held_out(num_images: int, share: float) -> int:
    """Images of a subset that are held out; the part that is trained on is rounded up."""
    return num_images - math.ceil(num_images * (1 - Fraction(str(share))))


def split_validation(datasets: Sequence[Dataset], default_seed: int, findings: Findings) -> list[Dataset]:
    """Moves the images that are to be held out of what the datasets train on.

    A picture that is held out anywhere is held out everywhere, copies of the file included, or training at one
    resolution would see what another is validated on.

    Args:
        default_seed: for subsets without a validation_seed.
    """
    chosen = _chosen(datasets, default_seed, findings)
    if not chosen:
        return list(datasets)
    real_paths = {record.path: os.path.realpath(record.path) for dataset in datasets for record in dataset.records}
    files = _with_copies({real_paths[record.path] for record in chosen}, set(real_paths.values()))
    findings.warnings.append(
        f"held out for validation and not trained on: {counted(len(files), 'image')}; the loss on what is held out is "
        "not computed in this version yet"
    )
    held_out = {path for path, file in real_paths.items() if file in files}
    return [_split(dataset, held_out, findings) for dataset in datasets]


def _chosen(datasets: Sequence[Dataset], default_seed: int, findings: Findings) -> list[ImageRecord]:
    """Regularisation images are never chosen.

    The choice in a subset depends on the seed and the images' names only: it is the same in every run and for every
    resolution that a folder is trained at, and hardly changes when images are added.
    """
    chosen: list[ImageRecord] = []
    for dataset in datasets:
        for number, images in _by_subset(dataset.records).items():
            subset = dataset.settings.subsets[number]
            if subset.validation_split == 0:
                continue
            seed = default_seed if subset.validation_seed is None else subset.validation_seed
            ranked = sorted(images, key=lambda record: derive_seed(seed, "validation", record.name))
            count = num_held_out(len(images), subset.validation_split)
            if count == 0:
                findings.add(Findings(warnings=[_about_none(subset, len(images))]))
            chosen += ranked[:count]
    return chosen


def _with_copies(files: set[str], among: set[str]) -> set[str]:
    """Files of the same content under other names as well. Only those of the same length are read."""
    by_length: dict[int, set[str]] = defaultdict(set)
    for file in among:
        with contextlib.suppress(OSError):  # pictures of a class need not be files
            by_length[os.stat(file).st_size].add(file)  # noqa: PTH116
    copies: set[str] = set()
    for alike in by_length.values():
        if alike & files and alike - files:
            contents = {_content(file) for file in alike & files}
            copies |= {file for file in alike - files if _content(file) in contents}
    return files | copies


def _content(file: str) -> bytes:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "blake2b").digest()


def _about_none(subset: SubsetSettings, num_images: int) -> str:
    return (
        f"validation_split {subset.validation_split:g} holds out 0 of {counted(num_images, 'image')} in "
        f"'{subset.metadata_file or subset.image_dir}'; give a larger share"
    )


def _by_subset(records: Sequence[ImageRecord]) -> dict[int, list[ImageRecord]]:
    subsets: dict[int, list[ImageRecord]] = defaultdict(list)
    for record in records:
        if not record.is_reg:
            subsets[record.subset].append(record)
    return subsets


def _split(dataset: Dataset, files: Set[Path], findings: Findings) -> Dataset:
    trained, held_out, dropped = [], [], []
    for record in dataset.records:
        if record.path not in files:
            trained.append(record)
        elif record.is_reg:
            dropped.append(record.path)
        else:
            held_out.append(record)
    if dropped:
        findings.warnings.append(
            "left out, since the same file is held out for validation: "
            f"{counted(len(dropped), 'regularisation image')}: {examples(dropped)}"
        )
    return replace(dataset, records=tuple(trained), held_out=tuple(held_out))
