"""What the headers of image files tell, without decoding pixels wherever that can be avoided."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from library.dataset.buckets.aspect_buckets import Size
from library.dataset.images.image_files import PILLOW_ERRORS, UnreadableImageError, file_trouble, open_image
from library.dataset.images.png_parts import PngParts, read_png_parts
from library.dataset.images.webp_parts import WebpParts, read_webp_parts

_EXIF_ORIENTATION = 0x0112
_TURNED_BY_90_DEGREES = frozenset({5, 6, 7, 8})
_ORIENTATION_IN_HEADER = frozenset({"JPEG", "MPO", "WEBP", "BMP", "GIF", "AVIF"})

_STRIP_OFFSETS, _STRIP_LENGTHS, _TILE_OFFSETS, _TILE_LENGTHS = 273, 279, 324, 325
"""Tags of TIFF files: where their pixels are."""


@dataclass(frozen=True)
class ImageHeader:
    size: Size
    """upright width and height in pixels, as the decoded picture has them"""
    transparent: bool
    """Pixels may be transparent."""
    several: bool
    """There is more than one frame or page; the first is used."""


def read_image_header(path: Path) -> ImageHeader:
    """From the header alone where that tells everything. Also notices files that end too early.

    Raises:
        UnreadableImageError: missing, not an image, cut short, or of a kind that cannot be decoded.
    """
    try:
        webp = read_webp_parts(path)
    except OSError as error:
        raise UnreadableImageError(file_trouble(path, error)) from None
    if webp.size is not None and webp.is_whole:
        return _of_webp(webp.size, webp)
    with open_image(path) as image:
        png = read_png_parts(path) if image.format == "PNG" else None
        if not _ends_properly(path, image, png):
            image.load()
        turned = _orientation_of_file(image, png) in _TURNED_BY_90_DEGREES
        width, height = image.size
        return ImageHeader(
            size=(height, width) if turned else (width, height),
            transparent=image.has_transparency_data,
            several=image.format != "MPO" and bool(getattr(image, "is_animated", False)),  # cameras add a preview
        )


def orientation_of(image: Image.Image) -> int:
    """EXIF's number for how the picture must be turned, from EXIF, XMP or ImageMagick's text; 1 = upright."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except PILLOW_ERRORS:
        return 1  # broken camera data; the picture itself may be sound
    return orientation if isinstance(orientation, int) else 1


def _of_webp(size: Size, webp: WebpParts) -> ImageHeader:
    """Without Pillow, which sets up a decoder and takes ten times as long."""
    turned = False
    if webp.exif or webp.xmp:
        holder = Image.new("1", (1, 1))
        holder.info = {"exif": webp.exif, "xmp": webp.xmp} if webp.exif else {"xmp": webp.xmp}
        turned = orientation_of(holder) in _TURNED_BY_90_DEGREES
    return ImageHeader((size[1], size[0]) if turned else size, webp.transparent, webp.animated)


def _orientation_of_file(image: Image.Image, png: PngParts | None) -> int:
    """What `orientation_of` would say after decoding, which is done only where there may be something to find.

    A PNG file may have it behind the pixels, and asking Pillow for it always decodes the file. Pillow turns TIFF
    files by itself, and gives their upright size before that.
    """
    if image.format == "TIFF" or (png is not None and not png.may_name_orientation):
        return 1
    if image.format not in _ORIENTATION_IN_HEADER:
        image.load()
    return orientation_of(image)


def _ends_properly(path: Path, image: Image.Image, png: PngParts | None) -> bool:
    """Whether the end of the file is certainly there; if not, only decoding can tell."""
    if png is not None:
        return png.has_end
    if image.format == "TIFF":
        return path.stat().st_size >= _end_of_tiff_pixels(image) > 0
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        if image.format == "BMP":
            return size >= int.from_bytes(start[2:6], "little")
        file.seek(max(0, size - 4096))
        end = file.read()
    if image.format == "GIF":
        return end.rstrip(b"\0").endswith(b"\x3b")
    # phones append a film to a photo, so that the end of the picture may lie far before that of the file
    return image.format in ("JPEG", "MPO") and b"\xff\xd9" in end


def _end_of_tiff_pixels(image: Image.Image) -> int:
    """The first byte behind the pixels of the first page; 0 if that is not told."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    starts = tags.get(_STRIP_OFFSETS) or tags.get(_TILE_OFFSETS) or ()
    lengths = tags.get(_STRIP_LENGTHS) or tags.get(_TILE_LENGTHS) or ()
    return max((start + length for start, length in zip(starts, lengths, strict=False)), default=0)
