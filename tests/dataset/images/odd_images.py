"""A folder of odd and broken image files, and what should become of each.

    kinds = make_odd_images(folder)

All usable ones but the smallest show the same picture, 96 wide and 64 high, whose quarters have the colours `QUARTERS`.
"""

import io
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, features

WIDTH, HEIGHT = 96, 64

Colour = tuple[int, int, int]
Quarters = tuple[Colour, Colour, Colour, Colour]
"""Top left, top right, bottom left, bottom right."""

QUARTERS: Quarters = ((200, 30, 40), (20, 180, 60), (10, 20, 220), (120, 120, 120))
FIRST_TRANSPARENT: Quarters = ((255, 255, 255), *QUARTERS[1:])
GREYS: Quarters = ((20, 20, 20), (90, 90, 90), (160, 160, 160), (230, 230, 230))
BLACK_AND_WHITE: Quarters = ((0, 0, 0), (255, 255, 255), (255, 255, 255), (0, 0, 0))

Outcome = Literal["usable", "ignored", "unsupported", "unreadable", "damaged"]
"""
usable: listed and read
ignored: no image of the dataset, as a hidden file or a folder; not worth a word
unsupported: a picture in a format that cannot be read here
unreadable: left out when the folder is scanned
damaged: header and end are sound, so that only reading the pixels shows it
"""


@dataclass(frozen=True)
class OddImage:
    name: str
    """of the file"""
    outcome: Outcome
    size: tuple[int, int] | None = (WIDTH, HEIGHT)
    """upright width and height in pixels, as far as the scan can tell them"""
    quarters: Quarters | None = QUARTERS
    """what it looks like; None = nothing to see"""
    tolerance: int = 0
    """greatest difference of a colour, for lossy formats"""
    reason: str = ""
    """part of what is said about it if it is unreadable or damaged"""
    has_transparency: bool = False
    frames: int = 1


def make_odd_images(folder: Path) -> tuple[OddImage, ...]:
    """Writes every kind into a folder, and says what they are, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = _formats(folder) + _turned(folder) + _pixel_types(folder) + _names(folder) + _broken(folder)
    return tuple(sorted(kinds, key=lambda kind: kind.name))


def quartered(colours: Quarters = QUARTERS) -> np.ndarray:
    """uint8 (height, width, 3)"""
    top_left, top_right, bottom_left, bottom_right = (np.array(colour, np.uint8) for colour in colours)
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    pixels[: HEIGHT // 2, : WIDTH // 2] = top_left
    pixels[: HEIGHT // 2, WIDTH // 2 :] = top_right
    pixels[HEIGHT // 2 :, : WIDTH // 2] = bottom_left
    pixels[HEIGHT // 2 :, WIDTH // 2 :] = bottom_right
    return pixels


def quarters_of(pixels: np.ndarray) -> np.ndarray:
    """(4, 3): the colour in the middle of each quarter of a picture (height, width, 3)."""
    height, width = pixels.shape[:2]
    places = [(y, x) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    return np.array([pixels[place] for place in places], int)


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png_file(pixels: np.ndarray, colour_type: int, transparent: bytes = b"") -> bytes:
    """A PNG file with 16 bits per channel, which Pillow cannot write; pixels: uint16 (height, width, channels)."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))]
    parts += [(b"tRNS", transparent)] if transparent else []
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_part(name, content) for name, content in parts)


def png_part(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _picture(colours: Quarters = QUARTERS) -> Image.Image:
    return Image.fromarray(quartered(colours))


def _other_frame() -> Image.Image:
    return Image.new("RGB", (WIDTH, HEIGHT), (255, 0, 255))


def _with_transparent_quarter() -> Image.Image:
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[: HEIGHT // 2, : WIDTH // 2] = 0
    image = _picture()
    image.putalpha(Image.fromarray(alpha))
    return image


def _formats(folder: Path) -> list[OddImage]:
    frames = {"save_all": True, "append_images": [_other_frame()]}
    _picture().save(folder / "plain.png")
    _picture().save(folder / "photo.jpg", quality=95, subsampling=0)
    _picture().save(folder / "lossy.webp", quality=90)
    _picture().save(folder / "lossless.webp", lossless=True)
    _picture().save(folder / "picture.bmp")
    _picture().save(folder / "picture.tiff")
    _picture().save(folder / "scan.tif", compression="tiff_lzw")
    _picture().save(folder / "picture.gif")
    _picture().save(folder / "animated.gif", **frames)
    _picture().save(folder / "animated.webp", lossless=True, **frames)
    _picture().save(folder / "animated.png", **frames)
    _picture().save(folder / "two pages.tiff", **frames)
    kinds = [
        OddImage("plain.png", "usable"),
        OddImage("photo.jpg", "usable", tolerance=6),
        OddImage("lossy.webp", "usable", tolerance=12),
        OddImage("lossless.webp", "usable"),
        OddImage("picture.bmp", "usable"),
        OddImage("picture.tiff", "usable"),
        OddImage("scan.tif", "usable"),
        OddImage("picture.gif", "usable"),
        OddImage("animated.gif", "usable", frames=2),
        OddImage("animated.webp", "usable", frames=2),
        OddImage("animated.png", "usable", frames=2),
        OddImage("two pages.tiff", "usable", frames=2),
    ]
    if features.check("avif"):
        _picture().save(folder / "picture.avif", quality=95)
        kinds.append(OddImage("picture.avif", "usable", tolerance=12))
    return kinds


def _turned(folder: Path) -> list[OddImage]:
    """Stored lying on their left side, as a camera does, and upright by their EXIF data."""
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = _picture().transpose(Image.Transpose.ROTATE_90)
    lying.save(folder / "turned.jpg", quality=95, subsampling=0, exif=exif)
    lying.save(folder / "turned.png", exif=exif)
    lying.save(folder / "turned.webp", lossless=True, exif=exif)
    lying.save(folder / "turned.tiff", exif=exif)
    return [
        OddImage("turned.jpg", "usable", tolerance=6),
        OddImage("turned.png", "usable"),
        OddImage("turned.webp", "usable"),
        OddImage("turned.tiff", "usable"),
    ]


def _pixel_types(folder: Path) -> list[OddImage]:
    _picture().convert("CMYK").save(folder / "print.jpg", quality=95, subsampling=0)
    _picture().convert("CMYK").save(folder / "print.tiff")
    _picture().convert("YCbCr").save(folder / "luminance and colour.tiff")
    _lab().save(folder / "lab.tiff")
    _picture(GREYS).convert("L").save(folder / "grey.jpg", quality=95)
    _picture(BLACK_AND_WHITE).convert("1").save(folder / "one bit.png")
    Image.fromarray(quartered(GREYS)[..., 0].astype(np.uint16) * 257).save(folder / "grey 16 bits.png")
    Image.fromarray(quartered(GREYS)[..., 0].astype(np.uint16) * 257).save(folder / "grey 16 bits.tiff")
    _write_16_bit_colours(folder)
    _with_transparent_quarter().save(folder / "transparent.png")
    _with_transparent_quarter().save(folder / "transparent.webp", lossless=True)
    _with_transparent_quarter().save(folder / "transparent.gif")
    _with_transparent_quarter().convert("LA").save(folder / "transparent grey.png")
    palette = _picture().quantize(4)
    palette.save(folder / "palette.png", transparency=palette.getpixel((0, 0)))
    grey = [round(0.299 * red + 0.587 * green + 0.114 * blue) for red, green, blue in QUARTERS[1:]]
    grey_with_white: Quarters = ((255, 255, 255), *((value, value, value) for value in grey))  # type: ignore[assignment]
    return [
        OddImage("print.jpg", "usable", tolerance=8),
        OddImage("print.tiff", "usable", tolerance=1),
        OddImage("luminance and colour.tiff", "usable", tolerance=3),
        OddImage("lab.tiff", "usable", tolerance=12),
        OddImage("grey.jpg", "usable", quarters=GREYS, tolerance=3),
        OddImage("one bit.png", "usable", quarters=BLACK_AND_WHITE),
        OddImage("grey 16 bits.png", "usable", quarters=GREYS),
        OddImage("grey 16 bits.tiff", "usable", quarters=GREYS),
        OddImage("colours 16 bits.png", "usable"),
        OddImage("colours 16 bits, one transparent.png", "usable", quarters=FIRST_TRANSPARENT, has_transparency=True),
        OddImage("transparent 16 bits.png", "usable", quarters=FIRST_TRANSPARENT, has_transparency=True),
        OddImage("transparent.png", "usable", quarters=FIRST_TRANSPARENT, has_transparency=True),
        OddImage("transparent.webp", "usable", quarters=FIRST_TRANSPARENT, has_transparency=True),
        OddImage("transparent.gif", "usable", quarters=FIRST_TRANSPARENT, has_transparency=True),
        OddImage("transparent grey.png", "usable", quarters=grey_with_white, tolerance=1, has_transparency=True),
        OddImage("palette.png", "usable", quarters=FIRST_TRANSPARENT, has_transparency=True),
    ]


def _lab() -> Image.Image:
    from PIL import ImageCms

    rgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(_picture(), rgb, lab, outputMode="LAB")


def _write_16_bit_colours(folder: Path) -> None:
    deep = quartered().astype(np.uint16) * 257
    alpha = np.full((HEIGHT, WIDTH, 1), 65535, np.uint16)
    alpha[: HEIGHT // 2, : WIDTH // 2] = 0
    (folder / "colours 16 bits.png").write_bytes(png_file(deep, colour_type=2))
    (folder / "colours 16 bits, one transparent.png").write_bytes(
        png_file(deep, colour_type=2, transparent=deep[0, 0].astype(">u2").tobytes())
    )
    (folder / "transparent 16 bits.png").write_bytes(png_file(np.concatenate([deep, alpha], axis=2), colour_type=6))


def _names(folder: Path) -> list[OddImage]:
    content = encoded(_picture(), "PNG")
    (folder / "Mixed Case.PnG").write_bytes(content)
    (folder / "bild ä 猫.png").write_bytes(content)
    (folder / "really a png.jpg").write_bytes(content)
    (folder / "motion photo.jpg").write_bytes(encoded(_picture(), "JPEG", quality=95, subsampling=0) + bytes(20_000))
    (folder / "tiny.png").write_bytes(encoded(Image.new("RGB", (1, 1), QUARTERS[0]), "PNG"))
    (folder / "link.png").symlink_to(folder / "plain.png")
    (folder / "broken link.png").symlink_to(folder / "nowhere.png")
    (folder / "._photo.jpg").write_bytes(b"\0\5\x16\7" + bytes(100))
    (folder / ".hidden.png").write_bytes(content)
    (folder / "folder.png").mkdir()
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    return [
        OddImage("Mixed Case.PnG", "usable"),
        OddImage("bild ä 猫.png", "usable"),
        OddImage("really a png.jpg", "usable"),
        OddImage("motion photo.jpg", "usable", tolerance=6),
        OddImage("tiny.png", "usable", size=(1, 1), quarters=(QUARTERS[0],) * 4),
        OddImage("link.png", "usable"),
        _unreadable("broken link.png", "link to a file that does not exist"),
        OddImage("._photo.jpg", "ignored", None, None),
        OddImage(".hidden.png", "ignored", None, None),
        OddImage("folder.png", "ignored", None, None),
        OddImage("phone.heic", "unsupported", None, None),
    ]


def _broken(folder: Path) -> list[OddImage]:
    kinds = [_truncated(folder, image_format) for image_format in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")]
    contents = {
        "empty.png": (b"", "empty"),
        "web page.jpg": (b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>", "web page"),
        "text.png": (b"a cat, sitting\n", "not an image"),
        "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "vector drawing"),
        "archive.png": (b"PK\3\4" + bytes(200), "archive"),
        "film.jpg": (b"\0\0\0\x18ftypisom" + bytes(200), "film"),
        "zeros.jpg": (bytes(5000), "zeros"),
        "bomb.png": (_bomb(), "pixels"),
        "no width.png": (_png_of_size(0, 64), "not an image"),
        "broken start.png": (b"\0\0\0\0" + encoded(_picture(), "PNG")[4:], "not an image"),
    }
    for name, (content, reason) in contents.items():
        (folder / name).write_bytes(content)
        kinds.append(_unreadable(name, reason))
    Image.new("F", (WIDTH, HEIGHT), 0.5).save(folder / "floating point.tiff")
    kinds.append(_unreadable("floating point.tiff", "floating-point"))
    damaged = bytearray(encoded(_noise(), "PNG"))
    damaged[len(damaged) // 2] ^= 0xFF
    (folder / "damaged pixels.png").write_bytes(damaged)
    kinds.append(OddImage("damaged pixels.png", "damaged", quarters=None, reason="damaged"))
    forbidden = folder / "forbidden.png"
    forbidden.write_bytes(encoded(_picture(), "PNG"))
    forbidden.chmod(0)
    # an administrator may read everything
    kinds.append(
        OddImage("forbidden.png", "usable")
        if os.access(forbidden, os.R_OK)
        else _unreadable("forbidden.png", "Permission denied")
    )
    return kinds


def _unreadable(name: str, reason: str) -> OddImage:
    return OddImage(name, "unreadable", None, None, reason=reason)


def _truncated(folder: Path, image_format: str) -> OddImage:
    name = f"cut short.{image_format.lower()}"
    content = encoded(_noise(), image_format)
    (folder / name).write_bytes(content[: len(content) * 6 // 10])
    return _unreadable(name, "cut short")


def _noise() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    return Image.fromarray(values)


def _png_of_size(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_part(name, content) for name, content in parts)


def _bomb() -> bytes:
    """A small file that says it unpacks to 3.6 thousand million pixels."""
    return _png_of_size(60_000, 60_000)
