"""A folder with packed files: what it holds, and what is said when it is damaged, full or not to be written."""

import contextlib
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from library.caching.packed_files import (
    DamagedFileError,
    PackedFile,
    UnreadableFileError,
    find_packed,
    open_packed,
    verify_packed,
)
from library.errors import UserError
from library.wording import counted, format_size, listed

logger = logging.getLogger(__name__)

_EXAMPLES_SHOWN = 3
_VERIFYING_THREADS = 8
_LEFTOVER_AGE = 24 * 3600
"""Seconds after which nobody is still writing a file."""


@dataclass(frozen=True)
class CacheKind:
    """How a cache is called."""

    contents: str
    prefix: str
    """of its files"""
    option: str
    """that asked for it"""
    alternative: str
    """what to do where the folder cannot be used"""


class CacheFolder:
    """The files of one settings key."""

    def __init__(self, path: Path, kind: CacheKind, is_trusted: bool = False):
        """
        Args:
            path: need not exist yet.
            is_trusted: files are not compared with what was once written to them.
        """
        self.path = path
        self.kind = kind
        self._is_trusted = is_trusted
        self._examined: set[Path] = set()

    def new_files(self, is_wanted: Callable[[PackedFile], bool]) -> list[PackedFile]:
        """What was written since the last look, as far as it is wanted and sound.

        Damaged files are removed, with one warning for all; files that nobody wants are left alone.
        """
        paths = [path for path in find_packed(self.path, self.kind.prefix) if path not in self._examined]
        self._examined.update(paths)
        damaged: dict[Path, str] = {}

        def examine(path: Path) -> PackedFile | None:
            try:
                file = open_packed(path)
                if not is_wanted(file):
                    return None
                if not self._is_trusted:
                    verify_packed(path)
                return file
            except DamagedFileError as error:
                if path.exists():  # or another process was quicker to remove it
                    damaged[path] = str(error)
                    if not isinstance(error, UnreadableFileError):
                        _delete(path)
            return None

        with ThreadPoolExecutor(_VERIFYING_THREADS) as pool:
            files = [file for file in pool.map(examine, paths) if file is not None]
        if damaged:
            logger.warning(_report(damaged, self.kind.contents))
        return files

    def prepare_for(self, needed: int) -> None:
        """Makes the folder, and sees to it that so many bytes find room: before the hours of work, not after.

        Raises:
            UserError: it cannot be written, or they do not.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):  # a folder that exists may yet be one that is only read
                free = shutil.disk_usage(self.path).free
        except OSError as error:
            raise self.refusal(error.strerror or str(error)) from None
        if free < needed:
            raise self.refusal(f"{format_size(needed)} are needed and {format_size(free)} are free")
        self._remove_leftovers()

    def refusal(self, reason: str) -> UserError:
        return UserError(
            f"{self.kind.option}: '{self.path}' cannot be written: {reason}; make room or choose another folder with "
            f"--cache_dir, or {self.kind.alternative}"
        )

    def _remove_leftovers(self) -> None:
        """What killed runs had begun to write."""
        for path in self.path.glob(f".{self.kind.prefix}-*.partial*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - _LEFTOVER_AGE:
                    path.unlink()


def _report(damaged: dict[Path, str], contents: str) -> str:
    shown = listed([f"'{path}' ({reason})" for path, reason in damaged.items()], _EXAMPLES_SHOWN)
    return (
        f"damaged or unreadable: {counted(len(damaged), 'file')} with {contents}; what was in there is encoded again: "
        f"{shown}"
    )


def _delete(path: Path) -> None:
    """What is damaged once stays so; it would be read, and told of, in every run."""
    with contextlib.suppress(OSError):  # in a folder that is only read, say: then it is told of again
        path.unlink()
