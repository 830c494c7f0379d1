"""The pixels of image files: upright, 8 bits per channel, with or without their transparency."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from library.dataset.images.image_files import UnreadableImageError, open_image
from library.dataset.images.image_headers import orientation_of

_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_DEEP_GREY = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I"})
"""Pillow's modes for 16 bits per pixel. Its own conversion would clip them to 255, so that all is white."""


def read_image(path: Path) -> np.ndarray:
    """The upright picture as uint8 RGB, (height, width, 3); transparent parts on white.

    Raises:
        UnreadableImageError: missing, not an image, damaged, or with values that do not fit into 16 bits.
    """
    with open_image(path) as image:
        return on_white(decode(path, image))


def read_colours_and_alpha(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The upright picture without regard to its transparency, and the transparency.

    Returns:
        uint8 RGB (height, width, 3), with whatever colour lies beneath transparent parts; uint8 (height, width),
        255 = opaque, or None if all of it is.

    Raises:
        UnreadableImageError: as for `read_image`.
    """
    with open_image(path) as image:
        return colours_and_alpha(decode(path, image))


def on_white(picture: Image.Image) -> np.ndarray:
    """See `read_image`; of what `decode` returns."""
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture).convert("RGB")
    return np.array(picture)


def colours_and_alpha(picture: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """See `read_colours_and_alpha`; of what `decode` returns."""
    values = np.array(picture)
    if values.shape[2] == 3:
        return values, None
    alpha = np.ascontiguousarray(values[..., 3])
    return np.ascontiguousarray(values[..., :3]), None if alpha.min() == 255 else alpha


def decode(path: Path, image: Image.Image) -> Image.Image:
    """The upright picture, RGBA if it has transparency, else RGB."""
    has_deep_colours = image.format == "PNG" and image.mode == "RGB" and "16B" in str(getattr(image, "tile", ""))
    image.load()
    if image.mode in _DEEP_GREY:
        picture = _from_deep_grey(image)
    elif has_deep_colours and "transparency" in image.info:
        picture = _from_deep_colours(path)
    else:
        picture = image.convert("RGBA" if image.has_transparency_data else "RGB")
    method = _TO_UPRIGHT.get(orientation_of(image))
    return picture if method is None else picture.transpose(method)


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """From 0..65535."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImageError("its values do not fit into 16 bits; save it with 8 bits per channel")
    grey = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    picture = grey.convert("RGB")
    if "transparency" in image.info:
        opaque = values != image.info["transparency"]
        picture.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    return picture


def _from_deep_colours(path: Path) -> Image.Image:
    """A PNG file with 16 bits per channel and a transparent colour.

    Pillow keeps 8 of the bits of the pixels, but compares them with all those of the transparent colour.
    """
    values = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3 or values.dtype != np.uint16:
        raise UnreadableImageError("the file is cut short or damaged")
    upper_bits = (values // 256).astype(np.uint8)
    return Image.fromarray(upper_bits[..., [2, 1, 0, 3][: values.shape[2]]]).convert("RGBA")
