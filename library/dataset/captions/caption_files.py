"""Caption files beside images."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from library.dataset.captions.text_encodings import CERTAIN, DecodedText, decode_text_as, decode_texts

FACE_CROP_PARTS = 4
"""Names such as 'name_cx_cy_w_h' end in four numbers that place a face; 'name.txt' may be their caption."""
_SAMPLE_LENGTH = 40
_LINE_END = re.compile(r"\r\n|\r|\n")
"""As when a text file is opened; str.splitlines() would cut at U+2028, U+0085 and others, too."""


@dataclass(frozen=True)
class CaptionFile:
    lines: tuple[str, ...]
    """Without blanks around them; at least one, which may be empty."""
    encoding: str
    """How the file was read; anything but 'utf-8' deserves a warning."""

    @property
    def is_guessed(self) -> bool:
        """Whether its encoding is."""
        return self.encoding not in CERTAIN

    @property
    def sample(self) -> str:
        """Some 40 letters, one beyond ASCII among them if there is any, by which to see whether it was read rightly."""
        text = " ".join(line for line in self.lines if line)
        place = next((place for place, letter in enumerate(text) if is_telling(letter)), 0)
        start = max(0, place - _SAMPLE_LENGTH // 2) if place >= _SAMPLE_LENGTH else 0
        cut = text[start : start + _SAMPLE_LENGTH]
        return f"{'...' if start else ''}{cut}{'...' if start + _SAMPLE_LENGTH < len(text) else ''}"


def is_telling(letter: str) -> bool:
    """Whether it shows that a text was read in the wrong encoding, if it was."""
    return not letter.isascii() and letter.isalpha()


@dataclass(frozen=True)
class UnreadableCaption:
    reason: str


def find_caption_files(image: Path, extensions: Sequence[str]) -> list[Path]:
    """The caption files of an image, of which the first is to be used.

    They have the same name but for the extension; if there is none, the same without the four face-crop parts.
    """
    stems = [image.stem]
    parts = image.stem.split("_")
    if len(parts) > FACE_CROP_PARTS:
        stems.append("_".join(parts[:-FACE_CROP_PARTS]))
    for stem in stems:
        candidates = [image.with_name(stem + extension) for extension in extensions]
        if found := [candidate for candidate in candidates if _is_file(candidate)]:
            return found
    return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # an image's long name can become too long with another extension
        return False


def read_caption_files(paths: Sequence[Path]) -> list[CaptionFile | UnreadableCaption]:
    """What files of one folder hold, in UTF-8 or in what `decode_texts` finds out that they are in."""
    contents = [_content(path) for path in paths]
    texts = iter(decode_texts([content for content in contents if isinstance(content, bytes)]))
    return [_caption(next(texts)) if isinstance(content, bytes) else content for content in contents]


def read_caption_file_as(path: Path, encoding: str) -> CaptionFile | UnreadableCaption:
    """In this encoding and no other."""
    content = _content(path)
    if isinstance(content, UnreadableCaption):
        return content
    decoded = decode_text_as(content, encoding)
    return UnreadableCaption(f"it is not in {encoding}") if decoded is None else _caption(decoded)


def _content(path: Path) -> bytes | UnreadableCaption:
    try:
        return path.read_bytes()
    except OSError as error:
        return UnreadableCaption(error.strerror or str(error))


def _caption(decoded: DecodedText | None) -> CaptionFile | UnreadableCaption:
    if decoded is None:
        return UnreadableCaption("it is not text")
    return CaptionFile(tuple(line.strip() for line in _LINE_END.split(decoded.text)), decoded.encoding)
