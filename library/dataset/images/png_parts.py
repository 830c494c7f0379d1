"""What the parts of a PNG file tell without decoding its pixels."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_TEXT_PARTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_TEXTS_WITH_ORIENTATION = frozenset({b"Raw profile type exif", b"XML:com.adobe.xmp", b"exif", b"xmp"})
"""Keywords under which ImageMagick and Adobe's programs store camera data, and Pillow finds them."""
_LONGEST_KEYWORD = 79


@dataclass(frozen=True)
class PngParts:
    has_end: bool
    """The part that ends every PNG file is there as a whole, and so are all before it."""
    may_name_orientation: bool
    """There are camera data, which may stand behind the pixels."""


def read_png_parts(path: Path) -> PngParts:
    """
    Raises:
        OSError: the file cannot be read.
    """
    has_end = may_name_orientation = False
    with open(path, "rb") as file:
        for name, keyword in _parts(file, path.stat().st_size):
            has_end |= name == b"IEND"
            may_name_orientation |= name == b"eXIf" or keyword in _TEXTS_WITH_ORIENTATION
    return PngParts(has_end, may_name_orientation)


def _parts(file: BinaryIO, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Name of each part that is there as a whole, and the keyword if it is a text; skips over all other content."""
    place = 8
    while place + 12 <= size:
        file.seek(place)
        length, name = int.from_bytes(file.read(4), "big"), file.read(4)
        place += 12 + length
        if place > size:
            return
        keyword = file.read(min(length, _LONGEST_KEYWORD + 1)).split(b"\0", 1)[0] if name in _TEXT_PARTS else b""
        yield name, keyword
