"""Pictures and their masks from files."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from library.dataset.buckets.aspect_buckets import Size, in_words
from library.dataset.images.image_decoding import read_colours_and_alpha, read_image
from library.dataset.images.image_files import UnreadableImageError
from library.dataset.images.image_index import ImageIndex
from library.dataset.images.pictures import Picture, size_of
from library.dataset.records import ImageRecord


@dataclass(frozen=True)
class FilePictures:
    """The PictureReader of a run whose images are files."""

    index: ImageIndex = field(default_factory=ImageIndex)

    def read(self, record: ImageRecord) -> Picture:
        """
        Raises:
            UnreadableImageError: the image or its mask cannot be read, or has another size than when it was listed.
        """
        if record.alpha_mask and record.mask_path is None:
            pixels, mask = read_colours_and_alpha(record.path)
        else:
            pixels, mask = read_image(record.path), None
        size = size_of(pixels)
        if size != record.size:
            # its placement was made for the other size, so that it would be squashed
            raise UnreadableImageError(
                f"it is {in_words(size)} now, but was {in_words(record.size)} when the images were listed; "
                "start again, and leave the files as they are while training"
            )
        if record.mask_path is not None:
            return Picture(pixels, _read_mask(record.mask_path, size))
        return Picture(pixels, mask, mask_is_alpha=mask is not None)

    def fingerprint(self, record: ImageRecord, looks_again: bool = False) -> str:
        """See PictureReader.

        Raises:
            UnreadableImageError: the image or its mask cannot be read.
        """
        content = self.index.content(record.path, looks_again)
        if record.mask_path is not None:
            return f"{content}-mask-{_hash_of_mask(record.mask_path, self.index, looks_again)}"
        if record.alpha_mask and self.index.header(record.path).transparent:
            return f"{content}-alpha"
        return content

    def keep_facts(self) -> None:
        """See PictureReader."""
        self.index.save()


def check_mask(path: Path, image_size: Size, index: ImageIndex) -> None:
    """
    Raises:
        UnreadableImageError: the mask of an image of this size cannot be used, as far as its header tells.
    """
    try:
        size = index.header(path).size
    except UnreadableImageError as error:
        raise _about_mask(path, error) from None
    _require_same_size(path, size, image_size)


def _read_mask(path: Path, image_size: Size) -> np.ndarray:
    """uint8 (height, width): red, with no regard to transparency, beneath which painting programs leave black."""
    try:
        colours, _ = read_colours_and_alpha(path)
    except UnreadableImageError as error:
        raise _about_mask(path, error) from None
    _require_same_size(path, size_of(colours), image_size)
    return np.ascontiguousarray(colours[..., 0])


def _hash_of_mask(path: Path, index: ImageIndex, looks_again: bool) -> str:
    try:
        return index.content(path, looks_again)
    except UnreadableImageError as error:
        raise _about_mask(path, error) from None


def _require_same_size(path: Path, size: Size, image_size: Size) -> None:
    if size != image_size:
        raise UnreadableImageError(
            f"it is {in_words(image_size)}, but its mask '{path}' is {in_words(size)}; make both the same size"
        )


def _about_mask(path: Path, error: UnreadableImageError) -> UnreadableImageError:
    return UnreadableImageError(f"its mask '{path}': {error}")
