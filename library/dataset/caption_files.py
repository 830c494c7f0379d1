"""Caption files beside images."""

import re
from dataclasses import dataclass
from pathlib import Path

FACE_CROP_PARTS = 4
"""Names such as 'name_cx_cy_w_h' end in four numbers that place a face; 'name.txt' may be their caption."""
_LINE_END = re.compile(r"\r\n|\r|\n")
"""As when a text file is opened; str.splitlines() would cut at U+2028, U+0085 and others, too."""


class UnreadableCaptionError(Exception):
    """A caption file that is not text; the message says why."""


@dataclass(frozen=True)
class CaptionFile:
    lines: tuple[str, ...]
    """Without blanks around them; at least one, which may be empty."""
    encoding: str
    """How the file was read; anything but 'utf-8' deserves a warning."""


def find_caption_file(image: Path, extension: str) -> Path | None:
    """The caption file of an image: same name, other extension; else without the four face-crop parts."""
    stems = [image.stem]
    parts = image.stem.split("_")
    if len(parts) > FACE_CROP_PARTS:
        stems.append("_".join(parts[:-FACE_CROP_PARTS]))
    for stem in stems:
        candidate = image.with_name(stem + extension)
        if candidate.is_file():
            return candidate
    return None


def read_caption_file(path: Path) -> CaptionFile:
    """The caption a file holds, in UTF-8 with or without byte-order mark, or in UTF-16 with one.

    Raises:
        UnreadableCaptionError: the file is in another encoding, which cannot be told with certainty.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableCaptionError(error.strerror or str(error)) from None
    text, encoding = _decode(content)
    return CaptionFile(tuple(line.strip() for line in _LINE_END.split(text)), encoding)


def _decode(content: bytes) -> tuple[str, str]:
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    try:
        return content.decode("utf-8-sig" if encoding == "utf-8" else encoding), encoding
    except UnicodeDecodeError:
        raise UnreadableCaptionError("it is not UTF-8 text; save it again as UTF-8") from None
