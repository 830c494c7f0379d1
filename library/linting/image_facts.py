"""What is found out about an image file by really decoding it."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from PIL import Image

from library.dataset.buckets.aspect_buckets import Size
from library.dataset.images.image_decoding import decode, on_white
from library.dataset.images.image_files import PILLOW_ERRORS, UnreadableImageError, open_image
from library.dataset.images.image_headers import orientation_of
from library.dataset.images.image_index import ImageIndex
from library.dataset.images.pictures import size_of
from library.dataset.images.png_parts import read_png_parts
from library.dataset.images.webp_parts import read_webp_parts
from library.linting.likeness import Likeness, likeness_of

_BITS_PER_SAMPLE = 258
"""TIFF's tag."""
_DEEP_MODES = ("I", "F")

EXTENSIONS: dict[str, tuple[str, ...]] = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jfif", ".jpe"),
    "MPO": (".jpg", ".jpeg", ".jfif", ".jpe", ".mpo"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif", ".avifs"),
    "JXL": (".jxl",),
}
"""Pillow's name of a format -> extensions it may have, the usual one first."""

Progress = Callable[[Iterable["ImageFacts"], int], Iterable["ImageFacts"]]
"""Passes on what it is given, and shows how much of it is done; the second argument is how many there will be."""


class Damage(Enum):
    EMPTY = "empty"
    CUT_SHORT = "cut short"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class ImageTraits:
    format: str
    """Pillow's name"""
    mode: str
    """Pillow's name of the kind of pixels"""
    num_pictures: int
    """frames of an animation, pages of a document"""
    is_turned: bool
    """EXIF says that it must be turned or mirrored to be upright"""
    is_deep: bool
    """more than 8 bits per channel"""


@dataclass(frozen=True)
class ImageFacts:
    path: Path
    content: str
    """hash of the file; the same for the same bytes; empty for a file that cannot be opened"""
    damage: Damage | None = None
    reason: str = ""
    """why it cannot be read"""
    traits: ImageTraits | None = None
    """None = not an image"""
    size: Size = (0, 0)
    """upright width and height in pixels; of damaged images (0, 0)"""
    is_plain: bool = False
    """every pixel has the same colour"""
    is_transparent: bool = False
    """somewhere"""
    likeness: Likeness | None = None
    """None = damaged, or nothing to be recognised by"""


def inspect_images(paths: Sequence[Path], index: ImageIndex, progress: Progress) -> dict[Path, ImageFacts]:
    """Decodes every file, on all cores; Pillow and OpenCV let other threads work meanwhile."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = pool.map(lambda path: inspect_image(path, index), paths)
        return {facts.path: facts for facts in progress(found, len(paths))}


def inspect_image(path: Path, index: ImageIndex) -> ImageFacts:
    try:
        content = index.content(path)
    except UnreadableImageError as error:
        return ImageFacts(path, "", Damage.UNREADABLE, str(error))
    if path.stat().st_size == 0:
        return ImageFacts(path, content, Damage.EMPTY)
    traits = _traits(path)
    try:
        with open_image(path) as image:
            picture = decode(path, image)
    except UnreadableImageError as error:
        return ImageFacts(path, content, _damage(path), str(error), traits)
    pixels = on_white(picture)
    likeness = likeness_of(pixels)
    return ImageFacts(
        path,
        content,
        traits=traits,
        size=size_of(pixels),
        is_plain=likeness is None and bool((pixels == pixels[0, 0]).all()),
        is_transparent=picture.mode == "RGBA" and picture.getchannel("A").getextrema() != (255, 255),
        likeness=likeness,
    )


def _traits(path: Path) -> ImageTraits | None:
    try:
        with Image.open(path) as image:
            return ImageTraits(
                format=image.format or "",
                mode=image.mode,
                # a camera's photo of the format MPO holds a preview or another view
                num_pictures=1 if image.format == "MPO" else getattr(image, "n_frames", 1),
                is_turned=_is_turned(path, image),
                is_deep=_is_deep(path, image),
            )
    except PILLOW_ERRORS:
        return None


def _is_turned(path: Path, image: Image.Image) -> bool:
    if image.format == "PNG" and not read_png_parts(path).may_name_orientation:
        return False  # asking Pillow would decode the file
    return orientation_of(image) in range(2, 9)


def _is_deep(path: Path, image: Image.Image) -> bool:
    """Pillow reduces most images to 8 bits when it opens them, so that the file itself must be asked."""
    if image.format == "PNG":
        with open(path, "rb") as file:
            return file.read(25)[-1] > 8
    if image.format == "TIFF":
        bits: tuple[int, ...] = image.tag_v2.get(_BITS_PER_SAMPLE, (8,))  # type: ignore[attr-defined]
        return max(bits) > 8
    return image.mode in _DEEP_MODES or image.mode.startswith("I;16")


def _damage(path: Path) -> Damage:
    """Of a file that cannot be used. One that is recognised as an image, but cannot be decoded, has lost something."""
    try:
        with Image.open(path) as image:
            return Damage.UNREADABLE if _can_be_decoded(image) else Damage.CUT_SHORT
    except PILLOW_ERRORS:  # Pillow decodes WebP when it opens it
        return Damage.CUT_SHORT if read_webp_parts(path).size is not None else Damage.UNREADABLE


def _can_be_decoded(image: Image.Image) -> bool:
    try:
        image.load()
    except PILLOW_ERRORS:
        return False
    return True
