"""What is known about image files from earlier, so that they need not be read again.

A file is taken for the same as before if its size and its time of modification are. With a folder, the facts are
kept there in `images.json`:

    {"version": 1, "images": {path: {"bytes", "mtime_ns", "size", "transparent", "several", "content"}}}

Paths are relative to that folder where they can be, so that a dataset may move together with it.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from library.atomic_files import write_text_atomically
from library.dataset.images.image_files import UnreadableImageError, check_kind_of_file, file_trouble
from library.dataset.images.image_headers import ImageHeader, read_image_header

FILE_NAME = "images.json"
VERSION = 1
HASH_BYTES = 20
_BYTES_READ_AT_A_TIME = 1 << 20

logger = logging.getLogger(__name__)


class _State(NamedTuple):
    """What tells one version of a file from another."""

    num_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class _Entry:
    state: _State
    header: ImageHeader | None = None
    content: str | None = None
    """hash of the whole file, in hexadecimal"""


class ImageIndex:
    """Facts about image files. Used by several threads: entries are only ever replaced as a whole.

    It can be sent to other processes, where it begins with nothing known: those that read batches ask it nothing.
    """

    def __init__(self, folder: Path | None = None, trusts_files: bool = False):
        """
        Args:
            folder: where facts are kept for later runs; None = in memory only.
            trusts_files: files that are known are taken to be unchanged, without a look at them.
        """
        self._folder = None if folder is None else folder.absolute()
        self._trusts_files = trusts_files
        self._entries: dict[str, _Entry] = {} if self._folder is None else _load_or_warn(self._folder / FILE_NAME)
        self._new: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_entries": {}, "_new": set()}

    def header(self, path: Path) -> ImageHeader:
        """
        Raises:
            UnreadableImageError: the file cannot be used.
        """
        key, entry = self._entry(path)
        if entry.header is not None:
            return entry.header
        header = read_image_header(path)
        self._learn(key, replace(entry, header=header))
        return header

    def content(self, path: Path, looks_again: bool = False) -> str:
        """The same for files of the same bytes, whatever they are called.

        Args:
            looks_again: whether the file has changed, even if files are trusted.

        Raises:
            UnreadableImageError: the file cannot be read.
        """
        key, entry = self._entry(path, looks_again)
        if entry.content is not None:
            return entry.content
        content = _hash(path)
        # its header may have been learnt by another thread meanwhile
        self._learn(key, replace(self._known(key, entry.state), content=content))
        return content

    def save(self) -> None:
        """Adds what was learnt to what is in the folder by now. A folder that cannot be written is only warned of."""
        if self._folder is None or not self._new:
            return
        file = self._folder / FILE_NAME
        entries = {key: entry for key, entry in (_load(file) or {}).items() if self._exists(key)}
        entries |= {key: self._entries[key] for key in sorted(self._new)}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_text_atomically(file, _as_text(entries))
        except OSError as error:
            logger.warning(
                f"'{file}' cannot be written ({error.strerror or error}), so that the images are read again next time; "
                "give --cache_dir a folder that can be written"
            )
        self._new.clear()

    def _entry(self, path: Path, looks_again: bool = False) -> tuple[str, _Entry]:
        key = self._key(path)
        if self._trusts_files and not looks_again and key in self._entries:
            return key, self._entries[key]
        try:
            status = path.stat()
        except OSError as error:
            raise UnreadableImageError(file_trouble(path, error)) from None
        check_kind_of_file(status)
        return key, self._known(key, _State(status.st_size, status.st_mtime_ns))

    def _known(self, key: str, state: _State) -> _Entry:
        entry = self._entries.get(key)
        return entry if entry is not None and entry.state == state else _Entry(state)

    def _learn(self, key: str, entry: _Entry) -> None:
        self._entries[key] = entry
        self._new.add(key)

    def _key(self, path: Path) -> str:
        absolute = path.absolute()
        if self._folder is None:
            return str(absolute)
        try:
            return Path(os.path.relpath(absolute, self._folder)).as_posix()
        except ValueError:  # on another drive of Windows
            return absolute.as_posix()

    def _exists(self, key: str) -> bool:
        # not as the system would go up: beyond a folder that is a link, that leads elsewhere
        return self._folder is None or os.path.lexists(os.path.normpath(self._folder / key))


def _hash(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    try:
        with open(path, "rb") as file:
            while block := file.read(_BYTES_READ_AT_A_TIME):
                digest.update(block)
    except OSError as error:
        raise UnreadableImageError(file_trouble(path, error)) from None
    return digest.hexdigest()


def _load_or_warn(file: Path) -> dict[str, _Entry]:
    entries = _load(file)
    if entries is None:
        logger.warning(f"'{file}' cannot be used, since it is damaged or cannot be read; it is made anew")
    return entries or {}


def _load(file: Path) -> dict[str, _Entry] | None:
    """None = damaged, or not to be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            return {}  # written by another version of this suite
        return {key: _from_json(values) for key, values in content["images"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _as_text(entries: Mapping[str, _Entry]) -> str:
    """One image per line."""
    lines = [f"{json.dumps(key)}: {json.dumps(_to_json(entry))}" for key, entry in entries.items()]
    return f'{{"version": {VERSION}, "images": {{\n' + ",\n".join(lines) + "\n}}\n"


def _to_json(entry: _Entry) -> dict[str, Any]:
    values: dict[str, Any] = {"bytes": entry.state.num_bytes, "mtime_ns": entry.state.mtime_ns}
    if entry.header is not None:
        header = entry.header
        values |= {"size": header.size, "transparent": header.transparent, "several": header.several}
    if entry.content is not None:
        values["content"] = entry.content
    return values


def _from_json(values: Mapping[str, Any]) -> _Entry:
    header = None
    if "size" in values:
        width, height = values["size"]
        header = ImageHeader((int(width), int(height)), bool(values["transparent"]), bool(values["several"]))
    content = values.get("content")
    return _Entry(
        _State(int(values["bytes"]), int(values["mtime_ns"])), header, None if content is None else str(content)
    )
