"""The captions of a whole folder, and what is worth saying about them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from library.dataset.caption_files import UnreadableCaptionError, find_caption_file, read_caption_file
from library.dataset.findings import Findings, examples
from library.options.dataset_settings import SubsetSettings


@dataclass
class _Oddities:
    """Files of one folder that may not be what was meant."""

    without: list[Path] = field(default_factory=list)
    """Images without a caption file; all others are caption files."""
    other_encoding: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)
    with_unused_lines: list[Path] = field(default_factory=list)


def read_captions(images: Sequence[Path], subset: SubsetSettings, findings: Findings) -> list[str]:
    """The stored caption of each image; class words stand in for a missing file.

    Files that cannot be read are added to `findings` as problems, odd ones as one warning for each kind.
    """
    oddities = _Oddities()
    captions = [_caption(image, subset, oddities, findings) for image in images]
    findings.warnings += _warnings(oddities, len(images), subset)
    return captions


def _caption(image: Path, subset: SubsetSettings, oddities: _Oddities, findings: Findings) -> str:
    file = find_caption_file(image, subset.caption_extension)
    if file is None:
        oddities.without.append(image)
        return subset.class_tokens or ""
    try:
        content = read_caption_file(file)
    except UnreadableCaptionError as error:
        findings.problems.append(f"caption file '{file}': {error}")
        return ""
    if content.encoding != "utf-8":
        oddities.other_encoding.append(file)
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


def _warnings(oddities: _Oddities, num_images: int, subset: SubsetSettings) -> list[str]:
    texts = {
        "are not UTF-8": oddities.other_encoding,
        "have an empty first line, so that their images are trained with an empty caption": oddities.empty,
        "hold more than one line, of which only the first is used": oddities.with_unused_lines,
    }
    num_files = num_images - len(oddities.without)
    warnings = [
        f"{len(files)} of {num_files} caption files in '{subset.image_dir}' {text}: {examples(files)}"
        for text, files in texts.items()
        if files
    ]
    if oddities.without:
        warnings.append(_about_missing_captions(oddities.without, num_images, subset))
    return warnings


def _about_missing_captions(without: Sequence[Path], num_images: int, subset: SubsetSettings) -> str:
    used = (
        f"'{subset.class_tokens}' is used instead" if subset.class_tokens else "they are trained with an empty caption"
    )
    text = (
        f"{len(without)} of {num_images} images in '{subset.image_dir}' have no {subset.caption_extension} file; "
        f"{used}: {examples(without)}"
    )
    for extension in (".txt", ".caption"):
        found = sum(find_caption_file(image, extension) is not None for image in without)
        if found and extension != subset.caption_extension:
            text += f". {found} of them have a {extension} file: give --caption_extension {extension} to use those"
    return text
