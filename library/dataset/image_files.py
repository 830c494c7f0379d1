"""Finding image files and reading them: sizes from headers, pixels as upright RGB."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from library.dataset.png_parts import read_png_parts

IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp") + ((".avif",) if features.check("avif") else ())
_OTHER_PICTURES = frozenset({".avif", ".gif", ".tif", ".tiff", ".jxl", ".heic", ".heif"}) - set(IMAGE_EXTENSIONS)

_EXIF_ORIENTATION = 0x0112
_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED_BY_90_DEGREES = frozenset({5, 6, 7, 8})
_ORIENTATION_IN_HEADER = frozenset({"JPEG", "MPO", "WEBP", "BMP", "AVIF"})

_DEEP_GREY = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I"})
"""Pillow's modes for 16 bits per pixel. Its own conversion would clip them to 255, so that all is white."""

_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


class UnreadableImageError(Exception):
    """An image file that cannot be used; the message says why."""


@dataclass(frozen=True)
class ImageSize:
    width: int
    height: int


def find_images(folder: Path) -> list[Path]:
    """Image files directly inside a folder, by name; upper and lower case extensions alike, no hidden files.

    Raises:
        OSError: not a readable folder.
    """
    return _find(folder, frozenset(IMAGE_EXTENSIONS))


def find_other_pictures(folder: Path) -> list[Path]:
    """Pictures in formats that are not used, by name.

    Raises:
        OSError: not a readable folder.
    """
    return _find(folder, _OTHER_PICTURES)


def _find(folder: Path, extensions: frozenset[str]) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in extensions and not path.name.startswith(".") and not path.is_dir()
    )


def read_image_size(path: Path) -> ImageSize:
    """The upright size in pixels that `read_image` gives, from the header alone where that tells it.

    Also notices files that end too early.

    Raises:
        UnreadableImageError: missing, not an image, cut short, or of a kind that `read_image` refuses.
    """
    try:
        with Image.open(path) as image:
            _refuse_floating_point(image)
            if not _ends_properly(path, image.format):
                _require_decodable(image)
            width, height = image.size
            turned = _orientation_of_file(path, image) in _TURNED_BY_90_DEGREES
    except _PILLOW_ERRORS as error:
        raise UnreadableImageError(_reason(error)) from None
    return ImageSize(height, width) if turned else ImageSize(width, height)


def read_image(path: Path) -> np.ndarray:
    """The upright picture as uint8 RGB, (height, width, 3); transparent parts on white.

    Raises:
        UnreadableImageError: missing, not an image, damaged, or with values that do not fit into 16 bits.
    """
    try:
        with Image.open(path) as image:
            _refuse_floating_point(image)
            image.load()
            picture = _flatten_on_white(image)
            method = _TO_UPRIGHT.get(_orientation(image))
            return np.array(picture if method is None else picture.transpose(method))
    except _PILLOW_ERRORS as error:
        raise UnreadableImageError(_reason(error)) from None


def _orientation_of_file(path: Path, image: Image.Image) -> int:
    """What `_orientation` would say after decoding, which is done only where there may be something to find.

    A PNG file may have it behind the pixels, and asking Pillow for it always decodes the file.
    """
    if image.format == "PNG" and not read_png_parts(path).may_name_orientation:
        return 1
    if image.format not in _ORIENTATION_IN_HEADER:
        image.load()
    return _orientation(image)


def _orientation(image: Image.Image) -> int:
    """EXIF's number for how the picture must be turned, from EXIF, XMP or ImageMagick's text; 1 = upright."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, EOFError, struct.error):
        return 1  # broken camera data; the picture itself may be sound
    return orientation if isinstance(orientation, int) else 1


def _flatten_on_white(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP_GREY:
        image = _deep_grey_on_white(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _deep_grey_on_white(image: Image.Image) -> Image.Image:
    """8-bit grey from 0..65535."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImageError("its values do not fit into 16 bits; save it with 8 bits per channel")
    grey = np.rint(values / 257).astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def _refuse_floating_point(image: Image.Image) -> None:
    if image.mode == "F":
        raise UnreadableImageError("its pixels are floating-point numbers; save it with 8 bits per channel")


def _ends_properly(path: Path, image_format: str | None) -> bool:
    """Whether the end of the file is certainly there; if not, only decoding can tell."""
    if image_format == "PNG":
        return read_png_parts(path).has_end
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        if image_format == "WEBP":
            return size >= int.from_bytes(start[4:8], "little") + 8
        if image_format == "BMP":
            return size >= int.from_bytes(start[2:6], "little")
        file.seek(max(0, size - 4096))
        # phones append a film to a photo, so that the end of the picture may lie far before that of the file
        return image_format in ("JPEG", "MPO") and b"\xff\xd9" in file.read()


def _require_decodable(image: Image.Image) -> None:
    try:
        image.load()
    except _PILLOW_ERRORS:
        raise UnreadableImageError("the file is cut short or damaged") from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image, or of a kind that cannot be read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
