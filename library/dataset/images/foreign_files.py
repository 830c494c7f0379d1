"""What a file is that has an image's name but is none."""

from collections.abc import Mapping
from pathlib import Path

_BYTES_LOOKED_AT = 1024

_OTHER_KINDS: Mapping[str, tuple[bytes, ...]] = {
    "an archive": (b"PK\3\4", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b"),
    "a film": (b"\x1aE\xdf\xa3", b"RIFF????AVI ", b"????ftypisom", b"????ftypmp4", b"????ftypqt", b"????ftypM4V"),
    "a HEIC picture": (b"????ftyphei", b"????ftyphev", b"????ftypmif1", b"????ftypmsf1"),
    "a JPEG XL picture": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "a PDF document": (b"%PDF",),
    "a Git LFS pointer": (b"version https://git-lfs",),
}
"""Kind -> how its files begin; a question mark stands for any byte."""

_ADVICE = {
    "a HEIC picture": "save it as PNG, or install pillow-heif and name it .heic",
    "a JPEG XL picture": "save it as PNG, or install pillow-jxl-plugin and name it .jxl",
    "a Git LFS pointer": "fetch the file itself with 'git lfs pull'",
}


def describe_foreign_file(path: Path) -> str:
    """Why a file that no reader recognised is not an image."""
    try:
        with open(path, "rb") as file:
            start = file.read(_BYTES_LOOKED_AT)
    except OSError as error:
        return error.strerror or str(error)
    if not start:
        return "the file is empty"
    if not start.strip(b"\0"):
        return "the file begins with zeros only, as after a crash while it was written"
    kind = _kind(start)
    if kind is None:
        return "it is not an image, or of a kind that cannot be read"
    advice = _ADVICE.get(kind)
    return f"it is {kind}" + (f"; {advice}" if advice else ", not an image")


def _kind(start: bytes) -> str | None:
    for kind, beginnings in _OTHER_KINDS.items():
        if any(_begins_with(start, beginning) for beginning in beginnings):
            return kind
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page"
    if text.startswith((b"<svg", b"<?xml")) and b"<svg" in text:
        return "a vector drawing (SVG)"
    return None


def _begins_with(content: bytes, beginning: bytes) -> bool:
    return len(content) >= len(beginning) and all(
        expected in (ord("?"), byte) for byte, expected in zip(content, beginning, strict=False)
    )
