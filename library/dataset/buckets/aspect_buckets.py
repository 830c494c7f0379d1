"""Aspect-ratio buckets: which size an image is trained at, and how it gets there.

All sizes are (width, height) in pixels. The rules are those of kohya's sd-scripts, so that the same images
land in the same buckets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Size = tuple[int, int]


def in_words(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


@dataclass(frozen=True)
class Placement:
    """How an image becomes a training picture: scaled to `resized`, then cropped to `bucket`."""

    bucket: Size
    resized: Size
    crop: tuple[int, int]
    """(left, top) of the crop inside the resized picture."""

    @property
    def cropped_share(self) -> float:
        """How much of the picture's area is cut off, from 0 to 1."""
        return 1 - (self.bucket[0] * self.bucket[1]) / (self.resized[0] * self.resized[1])

    def enlargement(self, image: Size) -> float:
        """By which factor the image's sides grow; below 1 where it shrinks."""
        return max(self.resized[0] / image[0], self.resized[1] / image[1])


def predefined_buckets(resolution: Size, min_side: int, max_side: int, steps: int) -> list[Size]:
    """All sizes made of multiples of `steps` whose area does not exceed that of `resolution`, ascending.

    For each width between the limits the greatest fitting height, and the same turned, plus one square.
    """
    area = resolution[0] * resolution[1]
    square = int(math.sqrt(area) // steps) * steps
    sizes = {(square, square)}
    for width in range(min_side, max_side + 1, steps):
        height = min(max_side, (area // width) // steps * steps)
        if height >= min_side:
            sizes |= {(width, height), (height, width)}
    return sorted(sizes)


def place_in_nearest_bucket(image: Size, buckets: Sequence[Size]) -> Placement:
    """The bucket of the same size, or else of the closest ratio of width to height."""
    if image in buckets:
        return cover(image, image)
    ratio = image[0] / image[1]
    nearest = min(buckets, key=lambda size: abs(size[0] / size[1] - ratio))
    return cover(image, nearest)


def place_without_upscaling(image: Size, resolution: Size, steps: int) -> Placement | None:
    """Shrinks an image to the area of `resolution` if it is larger, then crops both sides to multiples of `steps`.

    None when a side is shorter than one step, so that nothing would be left of it.
    """
    resized = _shrink_to_area(image, resolution[0] * resolution[1], steps)
    bucket = (resized[0] // steps * steps, resized[1] // steps * steps)
    if 0 in bucket:
        return None
    return Placement(bucket, resized, _centred(resized, bucket))


def place_without_upscaling_within(
    image: Size, resolution: Size, steps: int, min_side: int, max_side: int
) -> Placement | None:
    """As `place_without_upscaling`, but no side of the bucket is below `min_side` or above `max_side`.

    Where an image's own bucket breaks a limit, it gets the predefined bucket of the closest ratio among those that it
    can fill without being enlarged. None when there is no such bucket.
    """
    own = place_without_upscaling(image, resolution, steps)
    if own is not None and min_side <= min(own.bucket) and max(own.bucket) <= max_side:
        return own
    filled = [
        bucket
        for bucket in predefined_buckets(resolution, min_side, max_side, steps)
        if bucket[0] <= image[0] and bucket[1] <= image[1]
    ]
    return place_in_nearest_bucket(image, filled) if filled else None


def _shrink_to_area(image: Size, area: int, steps: int) -> Size:
    """Of two candidates, one with a width that is a multiple of `steps` and one with such a height, the
    one whose bucket keeps the image's ratio better."""
    width, height = image
    if width * height <= area:
        return image
    ratio = width / height
    ideal_width = math.sqrt(area * ratio)
    ideal_height = area / ideal_width

    fixed_width = _round(ideal_width) // steps * steps
    height_for_width = _round(fixed_width / ratio) // steps * steps
    fixed_height = _round(ideal_height) // steps * steps
    width_for_height = _round(fixed_height * ratio) // steps * steps
    if 0 in (fixed_width, height_for_width, fixed_height, width_for_height):
        return (max(1, _round(ideal_width)), max(1, _round(ideal_height)))

    error_for_width = abs(fixed_width / height_for_width - ratio)
    error_for_height = abs(width_for_height / fixed_height - ratio)
    if error_for_width < error_for_height:
        return (fixed_width, _round(fixed_width / ratio))
    return (_round(fixed_height * ratio), fixed_height)


def cover(image: Size, target: Size) -> Placement:
    """Scales an image so that it just covers `target`, and crops what sticks out, equally on both sides."""
    if image[0] / image[1] > target[0] / target[1]:
        scale = target[1] / image[1]
    else:
        scale = target[0] / image[0]
    resized = (_round(image[0] * scale), _round(image[1] * scale))
    return Placement(target, resized, _centred(resized, target))


def _centred(outer: Size, inner: Size) -> tuple[int, int]:
    return ((outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2)


def _round(value: float) -> int:
    return int(value + 0.5)
