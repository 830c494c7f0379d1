"""Files of caches: safetensors files that each hold many entries. The header of such a file is its index.

A name ends in a hash of the file's bytes, which tells whether it still holds what was written to it; what comes before
that is random, so that no two runs write the same file.
"""

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from library.atomic_files import atomic_path
from library.caching.content_identity import KEY_LENGTH

SUFFIX = ".safetensors"


class DamagedFileError(Exception):
    """A file that does not hold what was once written to it; the message says why."""


class UnreadableFileError(DamagedFileError):
    """A file that cannot be read now; it may be whole."""


@dataclass(frozen=True)
class PackedFile:
    path: Path
    tensors: dict[str, torch.Tensor]
    """read from a memory map when they are used"""
    metadata: dict[str, str]


def find_packed(folder: Path, prefix: str) -> Iterator[Path]:
    """Complete files, in a fixed order; none if there is no such folder."""
    yield from sorted(folder.glob(f"{prefix}-*{SUFFIX}"))


def write_packed(
    folder: Path, prefix: str, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> Path:
    """Writes one file, and makes the folder if it is missing.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = save(dict(tensors), metadata)
    name = f"{prefix}-{uuid.uuid4().hex[:8]}-{_short(hashlib.sha256(content).hexdigest())}"
    path = folder / f"{name}{SUFFIX}"
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def open_packed(path: Path) -> PackedFile:
    """
    Raises:
        DamagedFileError: the file cannot be read, is truncated, or is of another kind.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
            return PackedFile(path, tensors, opened.metadata() or {})
    except OSError as error:
        raise UnreadableFileError(str(error)) from None
    except SafetensorError as error:
        raise DamagedFileError(str(error)) from None


def verify_packed(path: Path) -> None:
    """Reads the whole file; about half a second for each gigabyte.

    Raises:
        DamagedFileError: it differs from what was written.
    """
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableFileError(str(error)) from None
    if not path.stem.endswith(f"-{_short(digest)}"):
        raise DamagedFileError("its content has changed")


def _short(digest: str) -> str:
    return digest[:KEY_LENGTH]
