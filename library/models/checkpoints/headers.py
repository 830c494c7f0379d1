"""Names and shapes of the tensors in a model file, without torch and without reading the tensors.

A safetensors file begins with 8 bytes, the length of its header as a little-endian number; the header is a JSON object
of name -> {dtype, shape, data_offsets}, where the offsets count from the header's end, beside an entry __metadata__;
then come the tensors and nothing else.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from library.errors import UserError
from library.models.checkpoints.pickled_headers import LEGACY_START, ZIP_START, read_pickled_shapes

PICKLED_EXTENSIONS = frozenset({".ckpt", ".pt", ".pth", ".bin"})
SAFETENSORS_EXTENSION = ".safetensors"

LARGEST_HEADER = 100_000_000
"""bytes: the format's own limit"""

_LENGTH_BYTES = 8
_START_BYTES = 512
"""So much tells a web page or a pointer from a model."""


@dataclass(frozen=True)
class WeightsHeader:
    shapes: dict[str, tuple[int, ...]]
    """Tensor name -> shape, in the order in which the tensors lie in a safetensors file, or are named in a pickle."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Pickled files have none."""


def read_header(path: Path, option: str) -> WeightsHeader:
    """
    Raises:
        UserError: the file is missing, empty, cut short, damaged or something else than its name says; names the
            option.
    """
    return read_named_header(path, f"--{option} '{path}'")


def read_named_header(path: Path, named: str) -> WeightsHeader:
    """
    Args:
        named: what messages call the file.

    Raises:
        UserError: as for read_header.
    """
    try:
        return _read_header(path)
    except ValueError as error:
        raise UserError(f"{named}: {error}") from None
    except OSError as error:
        raise UserError(f"{named}: {error.strerror or error}") from None


def _read_header(path: Path) -> WeightsHeader:
    """
    Raises:
        ValueError: says what is wrong with the file.
        OSError: it is missing, or must not be read.
    """
    if path.is_dir():
        raise ValueError("this is a folder; name a file in it")
    with open(path, "rb") as file:
        start = file.read(_START_BYTES)
    size = path.stat().st_size
    is_pickled = path.suffix.lower() in PICKLED_EXTENSIONS
    _require_model_file(start, size, is_pickled)
    if is_pickled:
        return WeightsHeader(read_pickled_shapes(path))
    with open(path, "rb") as file:
        return _read_safetensors(file, size)


def _require_model_file(start: bytes, size: int, is_pickled: bool) -> None:
    """
    Raises:
        ValueError: the first bytes are those of something that people take for a model file.
    """
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        raise ValueError("the file is empty; download it again")
    if text.startswith(b"version https://git-lfs"):
        raise ValueError("the file is a pointer of git-lfs, not the model itself; fetch that with: git lfs pull")
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        raise ValueError("the file is a web page, as a login or an error page saved as the model; download it again")
    if is_pickled and start[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{" and _header_length(start) < size:
        raise ValueError("the file is a safetensors file; rename it so that its name ends in .safetensors")
    if not is_pickled and start.startswith((ZIP_START, LEGACY_START)):
        raise ValueError(
            "the file is a pickled checkpoint, no safetensors file; rename it so that its name ends in .ckpt"
        )


def _header_length(start: bytes) -> int:
    return int.from_bytes(start[:_LENGTH_BYTES], "little")


def _read_safetensors(file: BinaryIO, size: int) -> WeightsHeader:
    """
    Raises:
        ValueError: says what is wrong with the file.
    """
    start = file.read(_LENGTH_BYTES)
    length = _header_length(start)
    if size < _LENGTH_BYTES or length > LARGEST_HEADER:
        raise _damaged(f"its header would be {length:,} bytes long")
    header = file.read(length)
    if len(header) < length:
        if header.startswith(b"{"):
            raise _cut_short(size, f"more than {_LENGTH_BYTES + length:,}")
        raise _damaged("it has no header")
    entries, metadata = _parse(header)
    expected = file.tell() + max((end for _, _, _, end in entries), default=0)
    if size < expected:
        raise _cut_short(size, f"{expected:,}")
    if size > expected:
        raise _damaged(f"it is {size:,} bytes long instead of {expected:,}")
    if not entries:
        raise ValueError("the file holds no named tensors")
    in_file = sorted(entries, key=lambda entry: entry[2:])
    return WeightsHeader({name: shape for name, shape, _, _ in in_file}, metadata)


Entry = tuple[str, tuple[int, ...], int, int]
"""Tensor name, shape, and where its bytes begin and end, counted from the header's end."""


def _parse(header: bytes) -> tuple[list[Entry], dict[str, str]]:
    """
    Raises:
        ValueError: the header is not that of a safetensors file.
    """
    try:
        content = json.loads(header)
        metadata = dict(content.pop("__metadata__", None) or {})
        entries = [_parse_entry(name, entry) for name, entry in content.items()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _damaged("its header cannot be understood") from None
    return entries, {str(key): str(value) for key, value in metadata.items()}


def _parse_entry(name: str, entry: dict[str, Any]) -> Entry:
    shape = tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    if not all(isinstance(number, int) and number >= 0 for number in (*shape, begin, end - begin)):
        raise ValueError(name)
    return name, shape, begin, end


def _damaged(reason: str) -> ValueError:
    return ValueError(f"the file is damaged or not a safetensors file ({reason})")


def _cut_short(found: int, expected: str) -> ValueError:
    return ValueError(f"the file is cut short: {found:,} bytes instead of {expected}; download it again")
