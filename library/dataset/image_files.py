"""Finding image files and reading them: sizes from headers, pixels as upright RGB."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

IMAGE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})

_EXIF_ORIENTATION = 0x0112
_TURNED_BY_90_DEGREES = frozenset({5, 6, 7, 8})


class UnreadableImageError(Exception):
    """An image file that cannot be used; the message says why."""


@dataclass(frozen=True)
class ImageSize:
    width: int
    height: int


def find_images(folder: Path) -> list[Path]:
    """Image files directly inside a folder, by name; upper and lower case extensions alike.

    Raises:
        OSError: not a readable folder.
    """
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in IMAGE_EXTENSIONS and not path.name.startswith("._")
    )


def read_image_size(path: Path) -> ImageSize:
    """The upright size in pixels, from the header alone; also notices files that end too early.

    Raises:
        UnreadableImageError: missing, not an image, or cut short.
    """
    try:
        with Image.open(path) as image:
            (width, height), image_format = image.size, image.format
            # asking a PNG file for its orientation would make Pillow decode it
            orientation = _png_orientation(path) if image_format == "PNG" else image.getexif().get(_EXIF_ORIENTATION)
        if not _ends_properly(path, image_format):
            raise UnreadableImageError("the file is cut short")
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(_reason(error)) from None
    turned = orientation in _TURNED_BY_90_DEGREES
    return ImageSize(height, width) if turned else ImageSize(width, height)


def read_image(path: Path) -> np.ndarray:
    """The upright picture as uint8 RGB, (height, width, 3); transparent parts on white.

    Raises:
        UnreadableImageError: missing, not an image, or damaged.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            return np.array(_flatten_on_white(upright))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(_reason(error)) from None


def _flatten_on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _ends_properly(path: Path, image_format: str | None) -> bool:
    """Whether the end of the file is there; only for formats that mark it."""
    if image_format == "PNG":
        return any(name == b"IEND" for name, _, _ in _png_chunks(path))
    size = path.stat().st_size
    with open(path, "rb") as file:
        if image_format == "WEBP":
            file.seek(4)
            return size >= int.from_bytes(file.read(4), "little") + 8
        file.seek(max(0, size - 4096), os.SEEK_SET)
        return image_format != "JPEG" or b"\xff\xd9" in file.read()


def _png_chunks(path: Path) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and length of each part of a PNG file that is there as a whole; skips over their content."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        place = 8
        while place + 12 <= size:
            file.seek(place)
            length, name = int.from_bytes(file.read(4), "big"), file.read(4)
            if place + 12 + length > size:
                return
            yield name, place + 8, length
            place += 12 + length


def _png_orientation(path: Path) -> int | None:
    for name, place, length in _png_chunks(path):
        if name == b"eXIf":
            with open(path, "rb") as file:
                file.seek(place)
                exif = Image.Exif()
                exif.load(file.read(length))
                return exif.get(_EXIF_ORIENTATION)
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image, or of a kind that cannot be read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
