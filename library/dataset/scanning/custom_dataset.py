"""Images that come from a class of the user's own instead of files; docs/own_dataset_class.md tells users about it."""

import hashlib
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from tqdm import tqdm

from library.class_paths import describe_error
from library.dataset.buckets.aspect_buckets import Size, in_words
from library.dataset.images.image_decoding import colours_and_alpha, decode, on_white
from library.dataset.images.image_files import UnreadableImageError
from library.dataset.images.pictures import Picture, size_of
from library.dataset.records import ImageRecord, ListedImage

FINGERPRINT_BYTES = 20


class CustomDataset(Protocol):
    """What the user's class must have. It may also have the methods `size`, `name`, `repeats` and `mask`."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def picture(self, index: int) -> Image.Image | np.ndarray:
        """A picture of any mode, or uint8 RGB (height, width, 3)."""
        ...

    def caption(self, index: int) -> str | None:
        """As a caption file would hold it; None = there is none."""
        ...


REQUIRED_METHODS = ("__len__", "picture", "caption")


class WrongAnswerError(Exception):
    """A method of the user's class raised an error, or returned something else than it should."""


@dataclass(frozen=True)
class CustomPictures:
    """The PictureReader of a run whose images come from a class."""

    source: CustomDataset
    indices: Mapping[str, int]
    """name of an image -> its index"""

    def read(self, record: ImageRecord) -> Picture:
        """
        Raises:
            UnreadableImageError: the class fails to give the picture or its mask, or gives one of another size.
        """
        index = self.indices[record.name]
        is_masked = _has(self.source, "mask")
        try:
            pixels, alpha = picture_of(self.source, index, wants_alpha=record.alpha_mask and not is_masked)
            mask = _given_mask(self.source, index, size_of(pixels)) if is_masked else alpha
        except WrongAnswerError as error:
            raise UnreadableImageError(str(error)) from None
        if size_of(pixels) != record.size:
            raise UnreadableImageError(
                f"picture({index}) is {in_words(size_of(pixels))}, but was said to be {in_words(record.size)}"
            )
        return Picture(pixels, mask, mask_is_alpha=alpha is not None)

    def fingerprint(self, record: ImageRecord, looks_again: bool = False) -> str:
        """The same for the same pixels and mask; different for all others.

        Raises:
            UnreadableImageError: as for `read`.
        """
        picture = self.read(record)
        digest = hashlib.blake2b(repr(picture.pixels.shape).encode(), digest_size=FINGERPRINT_BYTES)
        digest.update(picture.pixels)
        if picture.mask is not None:
            digest.update(np.ascontiguousarray(picture.mask))
        kind = "pixels" if picture.mask is None else "with-alpha" if picture.mask_is_alpha else "with-mask"
        return f"{kind}-{digest.hexdigest()}"

    def keep_facts(self) -> None:
        """See PictureReader: nothing, since only the pixels say whether they are the same."""


def count_images(source: CustomDataset) -> int:
    """
    Raises:
        WrongAnswerError: also when there is none.
    """
    count = _ask(lambda: len(source), "len()")
    if count == 0:
        raise WrongAnswerError("len() is 0: it has no images")
    return count


def listed_image(source: CustomDataset, index: int) -> ListedImage:
    """
    Raises:
        WrongAnswerError: the class fails to tell the image's name or caption.
    """
    name = _ask(lambda: source.name(index), f"name({index})") if _has(source, "name") else f"{index:06d}"
    if not isinstance(name, str) or not name:
        raise WrongAnswerError(f"name({index}) must be a text that is not empty, not {name!r}")
    caption = _ask(lambda: source.caption(index), f"caption({index})")
    if caption is not None and not isinstance(caption, str):
        raise WrongAnswerError(f"caption({index}) must be a text or None, not {caption!r}")
    return ListedImage(Path(name), name, caption)


def repeats_of(source: CustomDataset, index: int, default: int) -> int:
    """
    Raises:
        WrongAnswerError: not a whole number of at least 0.
    """
    if not _has(source, "repeats"):
        return default
    repeats = _ask(lambda: source.repeats(index), f"repeats({index})")
    try:
        number = operator.index(repeats)  # NumPy's and pandas' integers are none of Python's
    except TypeError:
        number = -1
    if number < 0:
        raise WrongAnswerError(f"repeats({index}) must be a whole number of at least 0, not {repeats!r}")
    return number


def sizes_of(source: CustomDataset, count: int) -> Iterator[Size | str]:
    """Upright width and height of each image, or why it cannot be used. Without a method `size`, all are read."""
    tells_size = _has(source, "size")
    for index in tqdm(range(count), desc="reading sizes", unit="image", disable=tells_size):
        try:
            yield _told_size(source, index) if tells_size else size_of(picture_of(source, index)[0])
        except (WrongAnswerError, UnreadableImageError) as error:
            yield str(error)


def picture_of(source: CustomDataset, index: int, wants_alpha: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
    """uint8 RGB (height, width, 3); if wanted, the transparency as uint8 (height, width), None where there is none.

    Raises:
        WrongAnswerError: no picture.
    """
    call = f"picture({index})"
    picture = _ask(lambda: source.picture(index), call)
    if isinstance(picture, Image.Image):
        decoded = _ask(lambda: decode(Path(getattr(picture, "filename", "")), picture), call)
        return colours_and_alpha(decoded) if wants_alpha else (on_white(decoded), None)
    if (
        not isinstance(picture, np.ndarray)
        or picture.dtype != np.uint8
        or picture.shape[2:] != (3,)
        or 0 in picture.shape
    ):
        raise WrongAnswerError(
            f"{call} must be a PIL image or a uint8 array of shape (height, width, 3), not {_kind(picture)}"
        )
    return np.ascontiguousarray(picture), None


def _given_mask(source: Any, index: int, size: Size) -> np.ndarray | None:
    call = f"mask({index})"
    mask = _ask(lambda: source.mask(index), call)
    if isinstance(mask, Image.Image):
        mask = _ask(lambda: np.array(mask.convert("L")), call)
    if mask is None:
        return None
    if not isinstance(mask, np.ndarray) or mask.dtype != np.uint8 or mask.shape != (size[1], size[0]):
        raise WrongAnswerError(
            f"{call} must be None, a PIL image or a uint8 array of shape (height, width), here ({size[1]}, {size[0]}), "
            f"not {_kind(mask)}"
        )
    return mask


def _told_size(source: Any, index: int) -> Size:
    size = _ask(lambda: source.size(index), f"size({index})")
    try:
        width, height = (int(side) for side in size)
    except (TypeError, ValueError):
        width = height = 0
    if min(width, height) < 1:
        raise WrongAnswerError(f"size({index}) must be (width, height) in pixels, not {size!r}")
    return width, height


def _ask(question: Callable[[], Any], call: str) -> Any:
    """
    Raises:
        WrongAnswerError: there is an error in the user's code, or it does not answer.
    """
    try:
        return question()
    except Exception as error:
        raise WrongAnswerError(f"{call} raised {describe_error(error)}") from error


def _has(source: CustomDataset, method: str) -> bool:
    return callable(getattr(source, method, None))


def _kind(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
