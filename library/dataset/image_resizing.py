"""From a picture of any size to one of exactly the bucket's."""

import cv2
import numpy as np
from PIL import Image

from library.dataset.aspect_buckets import Placement, Size


def resize_and_crop(
    picture: np.ndarray,  # uint8 (height, width, 3)
    placement: Placement,
) -> np.ndarray:
    """uint8 (bucket height, bucket width, 3): scaled to the placement's size, then cropped."""
    picture = _resize(picture, placement.resized)
    left, top = placement.crop
    width, height = placement.bucket
    return picture[top : top + height, left : left + width]


def _resize(picture: np.ndarray, size: Size) -> np.ndarray:
    """Area averaging when the picture shrinks in both directions, else Lanczos."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    if width >= size[0] and height >= size[1]:
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
