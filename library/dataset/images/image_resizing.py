"""From a picture of any size to one of exactly the bucket's."""

import cv2
import numpy as np
from PIL import Image

from library.dataset.buckets.aspect_buckets import Placement, Size
from library.options.groups.dataset import Interpolation

_PILLOW_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}
_OPENCV_FILTERS = {
    "nearest": cv2.INTER_NEAREST_EXACT,
    "bilinear": cv2.INTER_LINEAR,
    "linear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}


def resize_and_crop(
    picture: np.ndarray,  # uint8 (height, width), or (height, width, 3) or (height, width, 4) with transparency
    placement: Placement,
    interpolation: Interpolation | None = None,
) -> np.ndarray:
    """uint8 (bucket height, bucket width, ...): scaled to the placement's size, then cropped.

    Without an interpolation, area averaging when the picture shrinks in both directions, else Lanczos. Pillow's filters
    (Lanczos and box) weight colours by their opacity, OpenCV's do not; kohya's sd-scripts use the same.
    """
    picture = _resize(picture, placement.resized, interpolation)
    left, top = placement.crop
    width, height = placement.bucket
    return picture[top : top + height, left : left + width]


def _resize(picture: np.ndarray, size: Size, interpolation: Interpolation | None) -> np.ndarray:
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    if interpolation is None:
        interpolation = "area" if width >= size[0] and height >= size[1] else "lanczos"
    if interpolation in _PILLOW_FILTERS:
        return np.asarray(Image.fromarray(picture).resize(size, _PILLOW_FILTERS[interpolation]))
    return cv2.resize(picture, size, interpolation=_OPENCV_FILTERS[interpolation])
