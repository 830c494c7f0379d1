"""Finding image files and opening them."""

import importlib
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, PngImagePlugin, UnidentifiedImageError, features

from library.dataset.images.foreign_files import describe_foreign_file

_PLUG_INS = {
    ".avif": ("pillow-avif-plugin", ("pillow_avif",)),
    ".jxl": ("pillow-jxl-plugin", ("pillow_jxl", "jxlpy.JXLImagePlugin")),
    ".heic": ("pillow-heif", ("pillow_heif.HeifImagePlugin",)),
    ".heif": ("pillow-heif", ("pillow_heif.HeifImagePlugin",)),
}
"""Extension -> the package that makes Pillow read it, and the modules one of which does that when it is imported."""


def _is_readable(extension: str) -> bool:
    if extension == ".avif" and features.check("avif"):
        return True
    return any(_imports(module) for module in _PLUG_INS[extension][1])


def _imports(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


IMAGE_EXTENSIONS = (
    ".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff",
    *(extension for extension in _PLUG_INS if _is_readable(extension)),
)  # fmt: skip
MISSING_PLUG_INS = {
    extension: package for extension, (package, _) in _PLUG_INS.items() if extension not in IMAGE_EXTENSIONS
}
"""Extensions of pictures that cannot be read here -> the package to install for that."""
_PICTURES = (*IMAGE_EXTENSIONS, *_PLUG_INS)

PILLOW_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError,
    MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""All that Pillow's readers have been seen to raise for damaged files."""

# What is worth saying about a file is said with its name; these come without, and once for each file.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# By default Pillow refuses pictures with longer texts, such as workflows that programs store in them.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


class UnreadableImageError(Exception):
    """An image file that cannot be used; the message says why."""


@dataclass(frozen=True)
class FoundPictures:
    """The pictures inside a folder, by path."""

    images: list[Path]
    unsupported: list[Path]
    """in formats that cannot be read here"""


def find_pictures(folder: Path, recursive: bool = False, without: Iterable[Path] = ()) -> FoundPictures:
    """By their extensions, of upper and lower case alike; no hidden files and folders.

    Args:
        recursive: search the folders inside it, too.
        without: folders that are not searched if they lie inside.

    Raises:
        OSError: a folder cannot be read.
    """
    found = FoundPictures([], [])
    for path in _find(folder, recursive, frozenset(map(os.path.realpath, without))):
        extension = path.suffix.lower()
        if extension in IMAGE_EXTENSIONS:
            found.images.append(path)
        elif extension in MISSING_PLUG_INS:
            found.unsupported.append(path)
    return found


def find_images(folder: Path, recursive: bool = False, without: Iterable[Path] = ()) -> list[Path]:
    """Those that can be read; see `find_pictures`."""
    return find_pictures(folder, recursive, without).images


def packages_for(extensions: Iterable[str]) -> str:
    """What to install to read pictures of these extensions."""
    return " ".join(sorted({MISSING_PLUG_INS[extension] for extension in extensions}))


def _find(folder: Path, recursive: bool, closed: frozenset[str]) -> Iterator[Path]:
    """Files with the extension of a picture, by path.

    Args:
        closed: the real paths of folders that are not entered, those on the way here among them, so that links do not
            lead round in circles.
    """
    closed |= {os.path.realpath(folder)} if recursive else set()
    with os.scandir(folder) as scanned:
        entries = sorted((entry.name, _is_folder(entry)) for entry in scanned if not entry.name.startswith("."))
    for name, is_folder in entries:
        if not is_folder and name.lower().endswith(_PICTURES):
            yield folder / name
        elif is_folder and recursive and os.path.realpath(folder / name) not in closed:
            yield from _find(folder / name, recursive, closed)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; looking at it as an image will say what is wrong
        return False


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """An image that was opened but not decoded yet; what goes wrong inside the block is told in the user's terms.

    Raises:
        UnreadableImageError: missing, not an image, damaged, or unreasonably large.
    """
    try:
        check_kind_of_file(path.stat())
        with Image.open(path) as image:
            if image.mode == "F":
                raise UnreadableImageError("its pixels are floating-point numbers; save it with 8 bits per channel")
            yield image
    except PILLOW_ERRORS as error:
        raise UnreadableImageError(_reason(path, error)) from None


def check_kind_of_file(status: os.stat_result) -> None:
    """
    Raises:
        UnreadableImageError: a pipe, a socket or a device, which may keep who opens it waiting for ever.
    """
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise UnreadableImageError("it is no regular file")


def file_trouble(path: Path, error: OSError) -> str:
    """Why a file cannot be opened."""
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return "it is a link to a file that does not exist"
    return error.strerror or str(error)


def folder_trouble(folder: Path, error: OSError) -> str:
    """Why a folder cannot be searched, with the name of the folder inside it that is the reason."""
    reason = error.strerror or str(error)
    return reason if error.filename in (None, str(folder)) else f"'{error.filename}' in it: {reason}"


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return describe_foreign_file(path)
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, or is damaged; make it smaller"
    if isinstance(error, OSError) and error.strerror:
        return file_trouble(path, error)
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it"
    text = str(error).lower()
    if "unsupported" in text or "not available" in text:
        return f"it cannot be decoded: {error}"
    return "the file is cut short or damaged"
