"""The captions of a whole folder, and what is worth saying about them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from library.dataset.caption_files import CaptionFile, UnreadableCaption, find_caption_files, read_caption_files
from library.dataset.findings import Findings, examples
from library.dataset.missing_captions import wanted_files, what_lies_beside
from library.options.dataset_settings import SubsetSettings


@dataclass
class _Oddities:
    """Caption files of one folder that may not be what was meant."""

    other_encoding: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
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
        oddities.other_encoding[content.encoding].append(file)
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
    texts = {
        f"are not UTF-8 and were read as {encoding}; save them as UTF-8 to be sure": files
        for encoding, files in oddities.other_encoding.items()
    } | {
        "have an empty first line, so that their images are trained with an empty caption": oddities.empty,
        "hold more than one line, of which only the first is used": oddities.with_unused_lines,
        f"are preferred to the {unused} files of the same names, which are not used; name the one kind to use with "
        "--caption_extension": oddities.preferred,
    }
    return [
        f"{len(files)} of {num_files} caption files in '{subset.image_dir}' {text}: {examples(files)}"
        for text, files in texts.items()
        if files
    ]


def _about_class_words(without: Sequence[Path], num_images: int, subset: SubsetSettings) -> str:
    return (
        f"{len(without)} of {num_images} images in '{subset.image_dir}' have no {wanted_files(subset)}; "
        f"'{subset.class_tokens}' is used instead: {examples(without)}{what_lies_beside(without)}"
    )
