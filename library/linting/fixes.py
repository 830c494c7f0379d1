"""What may be put right without anybody looking at it: nothing that changes what an image or a caption says."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from library.dataset.captions.caption_files import CaptionFile, UnreadableCaption, read_caption_file_as
from library.linting import kinds
from library.linting.caption_checks import begins_with_mark
from library.linting.image_checks import right_extension
from library.linting.inventory import Inventory
from library.linting.linter import LintReport
from library.linting.tag_checks import tidied

_IS_LINK = "it is a link to another file"


@dataclass(frozen=True)
class Rewrite:
    """A caption file gets this text, in UTF-8 without a byte-order mark."""

    path: Path
    text: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Rename:
    """An image gets another extension; caption and mask belong to it by the rest of the name, which stays."""

    path: Path
    target: Path


@dataclass(frozen=True)
class Removal:
    """A file is moved to the backup folder."""

    path: Path


@dataclass(frozen=True)
class Refusal:
    """What could be put right, but for this reason is not."""

    path: Path
    reason: str


Fix = Rewrite | Rename | Removal


def plan_fixes(report: LintReport, encoding: str | None = None) -> list[Fix | Refusal]:
    """
    Args:
        encoding: of the caption files whose encoding is only guessed; None = they are left as they are.
    """
    junk = [finding.files[0] for finding in report.findings if finding.kind is kinds.FOLDER_JUNK]
    planned = [*_rewrites(report.inventory, encoding), *_renames(report), *map(Removal, junk)]
    # a folder that has two names is still one folder
    return list({fix.path.parent.resolve() / fix.path.name: fix for fix in reversed(planned)}.values())[::-1]


def describe(fix: Fix | Refusal, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    match fix:
        case Rewrite():
            return f"{would}rewritten: {fix.path}: {', '.join(fix.reasons)}"
        case Rename():
            return f"{would}renamed: {fix.path} -> {fix.target.name}"
        case Removal():
            return f"{would}moved to the backup folder: {fix.path}"
        case Refusal():
            return f"left as it is: {fix.path}: {fix.reason}"


def _rewrites(inventory: Inventory, encoding: str | None) -> Iterator[Rewrite | Refusal]:
    captions = {caption.files[0]: caption for caption in inventory.captions()}
    for file, content in inventory.caption_files.items():
        if not isinstance(content, CaptionFile):
            continue
        if content.is_guessed:
            yield _in_unicode(file, content, encoding)
            continue
        lines, reasons = list(content.lines), []
        if content.encoding != "utf-8":
            reasons.append(f"{content.encoding} -> UTF-8")
        elif begins_with_mark(file):
            reasons.append("byte-order mark removed")
        tidy = tidied(captions[file]) if file in captions else None
        if tidy is not None:
            lines[lines.index(captions[file].text)] = tidy
            reasons.append(f"empty and repeated tags removed: {tidy}")
        if reasons and file.is_symlink():
            yield Refusal(file, _IS_LINK)
        elif reasons:
            yield Rewrite(file, "\n".join(lines), tuple(reasons))


def _in_unicode(file: Path, content: CaptionFile, encoding: str | None) -> Rewrite | Refusal:
    """Nothing else is changed: how the text reads is not certain before."""
    if encoding is None:
        guess = content.encoding
        return Refusal(file, f"its encoding is a guess; if '{content.sample}' is right, add --encoding {guess}")
    if file.is_symlink():
        return Refusal(file, _IS_LINK)
    read = read_caption_file_as(file, encoding)
    if isinstance(read, UnreadableCaption):
        return Refusal(file, read.reason)
    return Rewrite(file, "\n".join(read.lines), (f"{encoding} -> UTF-8: {read.sample}",))


def _renames(report: LintReport) -> Iterator[Rename | Refusal]:
    listed = {image.path for image in report.inventory.images if image.rules.metadata_file is not None}
    targets: set[Path] = set()
    for facts in report.facts.values():
        extension = right_extension(facts)
        if extension is None or facts.damage is not None:
            continue
        target = facts.path.with_suffix(extension)
        if facts.path in listed:
            yield Refusal(facts.path, "a metadata file lists it by this name")
        elif os.path.lexists(target) or target in targets:
            yield Refusal(facts.path, f"there is a {target.name} already")
        else:
            targets.add(target)
            yield Rename(facts.path, target)
