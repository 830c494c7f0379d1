"""The captions of a whole folder, and what is worth saying about them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from library.dataset.captions.caption_files import (
    CaptionFile,
    UnreadableCaption,
    find_caption_files,
    is_telling,
    read_caption_files,
)
from library.dataset.captions.missing_captions import wanted_files, what_lies_beside
from library.dataset.findings import Findings, examples
from library.options.dataset_settings import SubsetSettings
from library.wording import counted


@dataclass
class _Oddities:
    """Caption files of one folder that may not be what was meant."""

    other_encoding: dict[str, dict[Path, CaptionFile]] = field(default_factory=lambda: defaultdict(dict))
    """Encoding -> files."""
    empty: list[Path] = field(default_factory=list)
    with_unused_lines: list[Path] = field(default_factory=list)
    preferred: list[Path] = field(default_factory=list)
    """Beside another file for the same image."""


def read_captions(images: Sequence[Path], subset: SubsetSettings, findings: Findings) -> list[str | None]:
    """The stored caption of each image, None where there is none; class words stand in for a missing file.

    Files that cannot be read are added to `findings` as problems, odd ones as one warning for each kind. Images without
    a caption are left to `check_missing_captions`.
    """
    found = [find_caption_files(image, subset.caption_extensions) for image in images]
    used = list(dict.fromkeys(files[0] for files in found if files))
    oddities = _Oddities(preferred=[files[0] for files in found if len(files) > 1])
    captions: dict[Path, str] = {}
    for file, content in zip(used, read_caption_files(used), strict=True):
        if isinstance(content, UnreadableCaption):
            findings.problems.append(f"caption file '{file}': {content.reason}; replace or remove it")
        else:
            captions[file] = _stored_caption(file, content, subset, oddities)
    findings.warnings += _about_oddities(oddities, len(used), subset)
    without = [image for image, files in zip(images, found, strict=True) if not files]
    if without and subset.class_tokens:
        findings.warnings.append(_about_class_words(without, len(images), subset))
    return [captions.get(files[0], "") if files else subset.class_tokens or None for files in found]


def _stored_caption(file: Path, content: CaptionFile, subset: SubsetSettings, oddities: _Oddities) -> str:
    if content.encoding != "utf-8":
        oddities.other_encoding[content.encoding][file] = content
    first, *others = content.lines
    if subset.enable_wildcard:  # each use of the image chooses one of the lines
        caption = "\n".join(line for line in content.lines if line)
    else:
        caption = first
        if any(others):
            oddities.with_unused_lines.append(file)
    if not caption:
        oddities.empty.append(file)
    return caption


def _about_oddities(oddities: _Oddities, num_files: int, subset: SubsetSettings) -> list[str]:
    unused = " and ".join(subset.caption_extensions[1:])
    kinds = [
        (f"not UTF-8, and read as {encoding}", list(files), _advice_on_encoding(files))
        for encoding, files in oddities.other_encoding.items()
    ] + [
        ("an empty first line, and so an empty caption", oddities.empty, ""),
        ("more than one line, of which only the first is used", oddities.with_unused_lines, ""),
        (
            f"used instead of a {unused} file of the same name",
            oddities.preferred,
            "; name the one kind to use with --caption_extension",
        ),
    ]
    all_files = f"{counted(num_files, 'caption file')} in '{subset.image_dir}'"
    return [f"{what}: {len(files)} of {all_files}: {examples(files)}{advice}" for what, files, advice in kinds if files]


def _advice_on_encoding(files: Mapping[Path, CaptionFile]) -> str:
    """A sample of the text shows whether the encoding is right."""
    # letters show more than a quotation mark
    shown = max(files.values(), key=lambda content: any(map(is_telling, content.sample)))
    if not shown.is_guessed:
        return "; tools/lint_dataset.py --fix saves as UTF-8"
    return (
        f" (a guess, by which one reads: {shown.sample}); if that is right, tools/lint_dataset.py --fix --encoding "
        f"{shown.encoding} saves as UTF-8; if not, name the right encoding there"
    )


def _about_class_words(without: Sequence[Path], num_images: int, subset: SubsetSettings) -> str:
    return (
        f"no {wanted_files(subset)}: {len(without)} of {counted(num_images, 'image')} in '{subset.image_dir}': "
        f"{examples(without)}{what_lies_beside(without)}; '{subset.class_tokens}' is used instead"
    )
