"""Metadata files: images with their captions and tags, as JSON or JSONL.

JSON holds one object, `{"image": {"caption": "...", "tags": "..."}, ...}`; JSONL one object for each line, with the
image as `image_path`. The format is that of kohya's tools `merge_captions_to_metadata` and `merge_dd_tags_to_metadata`.
What else stands there, `image_size` above all, is not used: an image may have been replaced since it was written.
"""

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from library.dataset.findings import Findings, examples
from library.dataset.images.image_files import find_images
from library.dataset.records import ListedImage
from library.options.dataset_settings import SubsetSettings
from library.options.strict_json import parse_json
from library.wording import counted


def read_metadata(subset: SubsetSettings, findings: Findings) -> list[ListedImage]:
    """What a subset's metadata file lists, in its order; all that is malformed is added to `findings`."""
    if subset.metadata_file is None:
        raise ValueError("the subset has no metadata file")
    place = f"metadata file '{subset.metadata_file}'"
    problems: list[str] = []
    folder = _Folder(subset.image_dir, subset.recursive)
    images = list(_images(_entries(subset.metadata_file, problems), folder, subset, problems))
    if not images and not problems:
        problems.append("it lists no image")
    if images and len(folder.missing) == len(images):
        problems.append(
            f"not found in '{subset.image_dir}': {len(images)} of {counted(len(images), 'image')}: "
            f"{examples(folder.missing)}; name the folder that the names start from as image_dir (with --in_json: as "
            "--train_data_dir)"
        )
    findings.problems += [f"{place}: {problem}" for problem in problems]
    return images


@dataclass(frozen=True)
class _Entry:
    place: str
    """How messages name it."""
    key: str
    fields: Mapping[str, Any]

    def text(self, name: str) -> str:
        """Empty when it is missing.

        Raises:
            ValueError: there is something else of this name.
        """
        value = self.fields.get(name) or ""
        if not isinstance(value, str):
            raise ValueError(f"has {name} {value!r}, which must be text")
        return value


def _entries(path: Path, problems: list[str]) -> list[_Entry]:
    if path.exists() and not (path.is_file() or path.is_dir()):
        problems.append("it is no regular file")  # to open a pipe may take for ever
        return []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        problems.append(error.strerror or str(error))
    except UnicodeDecodeError:
        problems.append("it is not UTF-8 text; save it again as UTF-8")
    else:
        return list(_lines(text, problems) if path.suffix.lower() == ".jsonl" else _members(text, problems))
    return []


def _members(text: str, problems: list[str]) -> Iterator[_Entry]:
    """The entries of a JSON object."""
    try:
        content = parse_json(text)
    except ValueError as error:
        problems.append(f"it is not valid JSON: {error}")
        return
    if not isinstance(content, dict):
        problems.append("it must hold one object whose keys are images")
        return
    for key, fields in content.items():
        if isinstance(fields, dict):
            yield _Entry(f"'{key}'", key, fields)
        else:
            problems.append(f'\'{key}\' must have an object such as {{"caption": "..."}}, not {fields!r}')


def _lines(text: str, problems: list[str]) -> Iterator[_Entry]:
    """The entries of JSON lines; blank lines are allowed."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            fields = parse_json(line)
        except ValueError as error:
            problems.append(f"line {number} is not valid JSON: {error}")
            continue
        key = fields.get("image_path") if isinstance(fields, dict) else None
        if isinstance(key, str) and key:
            yield _Entry(f"line {number}, '{key}'", key, fields)
        else:
            problems.append(f'line {number} must be an object with an image_path, such as {{"image_path": "a.png"}}')


def _images(
    entries: list[_Entry], folder: "_Folder", subset: SubsetSettings, problems: list[str]
) -> Iterator[ListedImage]:
    places: dict[str, str] = {}
    for entry in entries:
        try:
            path = folder.locate(entry.key)
            absolute = os.path.abspath(path)  # noqa: PTH100 - unlike the method, it takes '..' out
            if absolute in places:
                raise ValueError(f"is the same image as {places[absolute]}; keep one of them")
            places[absolute] = entry.place
            caption = assemble_caption(entry.text("caption"), entry.text("tags"), subset)
        except ValueError as error:
            problems.append(f"{entry.place} {error}")
            continue
        yield ListedImage(path, folder.name_of(path, entry.key), caption or None)


def assemble_caption(caption: str, tags: str, subset: SubsetSettings) -> str:
    """The caption followed by the tags; where wildcards are on, each of the caption's lines is."""
    separator = subset.caption_separator
    if not subset.enable_wildcard:
        return separator.join(text for text in (caption, tags) if text)
    tags = tags.replace("\n", separator)
    lines = [line for line in caption.split("\n") if line.strip()]
    if not tags:
        return "\n".join(lines)
    return "\n".join(f"{line}{separator}{tags}" for line in lines) or tags


@dataclass(frozen=True)
class _Folder:
    """Finds the files that the keys of a metadata file mean."""

    path: Path
    recursive: bool
    by_stem: dict[tuple[Path, bool], dict[str, list[Path]]] = field(default_factory=dict)
    """(folder, with the folders inside it) -> name without extension -> images; filled as it is needed."""
    missing: list[Path] = field(default_factory=list)
    """Where images were expected that are not there."""

    def locate(self, key: str) -> Path:
        """The file of that name; else, as kohya's tools leave it out, of that name with an extension.

        When there is none, where it should be.

        Raises:
            ValueError: several images have that name.
        """
        path = self.path / key
        if os.path.isfile(path):  # noqa: PTH113 - unlike the method, it takes any text for a name
            return path
        candidates = self._of_stem(path.parent, False, path.name)
        if not candidates and self.recursive and path.parent == self.path:
            candidates = self._of_stem(self.path, True, path.name)
        if len(candidates) > 1:
            names = " and ".join(f"'{candidate}'" for candidate in candidates)
            raise ValueError(f"may be any of {names}; write the extension, too")
        if not candidates:
            self.missing.append(path)
        return candidates[0] if candidates else path

    def name_of(self, path: Path, key: str) -> str:
        return path.relative_to(self.path).as_posix() if path.is_relative_to(self.path) else key

    def _of_stem(self, folder: Path, recursive: bool, stem: str) -> list[Path]:
        if (folder, recursive) not in self.by_stem:
            images: dict[str, list[Path]] = defaultdict(list)
            with contextlib.suppress(OSError):  # looking at the image will say what is wrong
                for image in find_images(folder, recursive):
                    images[image.stem].append(image)
            self.by_stem[folder, recursive] = images
        return self.by_stem[folder, recursive].get(stem, [])
