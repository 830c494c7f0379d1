"""What the parts of a WebP file tell without decoding its pixels.

Source of the format: RFC 9649 (WebP Image Format).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from library.dataset.buckets.aspect_buckets import Size

_HEADER = 12
_PART_HEADER = 8
_LONGEST_PICTURE_HEADER = 10
_ANIMATION_FLAG, _TRANSPARENCY_FLAG = 0x02, 0x10


@dataclass(frozen=True)
class WebpParts:
    size: Size | None
    """stored width and height in pixels, not turned; None = nothing here that says it"""
    is_whole: bool
    """The file is as long as it says."""
    animated: bool = False
    transparent: bool = False
    """Its pixels may be transparent."""
    exif: bytes = b""
    xmp: bytes = b""


def read_webp_parts(path: Path) -> WebpParts:
    """
    Raises:
        OSError: the file cannot be read.
    """
    size: Size | None = None
    found: dict[bytes, bytes] = {}
    with open(path, "rb") as file:
        start = file.read(_HEADER)
        if start[:4] != b"RIFF" or start[8:12] != b"WEBP":
            return WebpParts(None, is_whole=False)
        end = int.from_bytes(start[4:8], "little") + 8
        for name, content in _parts(file, end):
            found.setdefault(name, content)
    flags = found.get(b"VP8X", b"\0")[0]
    if b"VP8X" in found:
        size = _canvas(found[b"VP8X"])
    elif b"VP8L" in found:
        size = _lossless_size(found[b"VP8L"])
    elif b"VP8 " in found:
        size = _lossy_size(found[b"VP8 "])
    return WebpParts(
        size=size,
        is_whole=path.stat().st_size >= end,
        animated=bool(flags & _ANIMATION_FLAG),
        transparent=bool(flags & _TRANSPARENCY_FLAG) or _has_alpha(found),
        exif=found.get(b"EXIF", b""),
        xmp=found.get(b"XMP ", b""),
    )


def _parts(file: BinaryIO, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each part; of pictures only the first few bytes."""
    place = _HEADER
    while place + _PART_HEADER <= end:
        file.seek(place)
        header = file.read(_PART_HEADER)
        if len(header) < _PART_HEADER:
            return
        name, length = header[:4], int.from_bytes(header[4:], "little")
        wanted = length if name in (b"EXIF", b"XMP ") else min(length, _LONGEST_PICTURE_HEADER)
        yield name, file.read(wanted)
        place += _PART_HEADER + length + length % 2


def _canvas(content: bytes) -> Size | None:
    if len(content) < 10:
        return None
    return int.from_bytes(content[4:7], "little") + 1, int.from_bytes(content[7:10], "little") + 1


def _lossless_size(content: bytes) -> Size | None:
    if len(content) < 5 or content[0] != 0x2F:
        return None
    bits = int.from_bytes(content[1:5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _lossy_size(content: bytes) -> Size | None:
    if len(content) < 10 or content[3:6] != b"\x9d\x01\x2a":
        return None
    return int.from_bytes(content[6:8], "little") & 0x3FFF, int.from_bytes(content[8:10], "little") & 0x3FFF


def _has_alpha(found: dict[bytes, bytes]) -> bool:
    lossless = found.get(b"VP8L", b"")
    return b"VP8X" not in found and len(lossless) >= 5 and bool(lossless[4] & 0x10)
