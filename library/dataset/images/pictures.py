"""Where the pixels of an image come from."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from library.dataset.buckets.aspect_buckets import Size
from library.dataset.records import ImageRecord


@dataclass(frozen=True)
class Picture:
    """An upright picture: as its file has it, or as a view of it is trained on."""

    pixels: np.ndarray
    """uint8 (height, width, 3), RGB"""
    mask: np.ndarray | None
    """uint8 (height, width): how much each pixel counts in the loss, 255 = fully; None = all do"""
    mask_is_alpha: bool = False
    """The mask is the picture's own transparency, and its colours are those stored under it."""


def size_of(pixels: np.ndarray) -> Size:
    """Width and height of a picture (height, width, ...)."""
    height, width = pixels.shape[:2]
    return width, height


class PictureReader(Protocol):
    """Reads the images of a run. Can be sent to other processes, and used by several threads."""

    def read(self, record: ImageRecord) -> Picture:
        """
        Raises:
            UnreadableImageError: the image or its mask cannot be read, or has changed since it was listed.
        """
        ...

    def fingerprint(self, record: ImageRecord, looks_again: bool = False) -> str:
        """The same for the same image and mask, whatever their names; different for all others.

        Args:
            looks_again: whether the files have changed, even where those of earlier runs are trusted.

        Raises:
            UnreadableImageError: as for `read`.
        """
        ...

    def keep_facts(self) -> None:
        """Writes down what was found out about the images, so that later runs need not; where that is wanted."""
        ...
