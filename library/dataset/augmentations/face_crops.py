"""Random zooms around the face whose place a file name tells, as kohya's face-cropping tool writes it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from library.dataset.buckets.aspect_buckets import Placement, Size
from library.dataset.findings import examples
from library.dataset.records import Dataset, ImageRecord
from library.wording import counted

SMALLEST_JITTERED_FACE = 40
"""pixels"""


@dataclass(frozen=True)
class Face:
    """In pixels of the upright image."""

    centre: tuple[int, int]
    """(x, y)"""
    size: int
    """the longer side"""


def face_of(path: Path) -> Face | None:
    """What a name such as `photo_CX_CY_W_H.png` tells: centre, width and height of a face in pixels."""
    parts = path.stem.split("_")
    if len(parts) < 5 or not all(part.isascii() and part.isdecimal() for part in parts[-4:]):
        return None
    x, y, width, height = map(int, parts[-4:])
    return Face((x, y), max(width, height)) if max(width, height) else None


def crop_around(
    face: Face,
    image: Size,
    bucket: Size,
    zooms: tuple[float, float],
    anywhere: bool,
    rng: random.Random,
) -> Placement:
    """A random zoom in which the bucket's shorter side is `zooms` times as long as the face, and a crop near it.

    The whole bucket is covered; an image is not enlarged beyond what that takes.

    Args:
        anywhere: the face may end up anywhere in the picture, most often in the middle; otherwise it is moved by a
            twentieth of its size at most.
    """
    scale = _draw_scale(face, image, bucket, zooms, rng)
    resized = (_round(image[0] * scale), _round(image[1] * scale))
    is_jittered = zooms[0] != zooms[1] and face.size > min(bucket) // 10 and face.size >= SMALLEST_JITTERED_FACE
    reach = face.size // 20 if is_jittered else 0
    starts = []
    for place, length, target in zip(face.centre, resized, bucket, strict=True):
        centre = _round(place * scale)
        start = centre - target // 2
        if anywhere:
            start += _around_zero(max(length - centre, centre), rng)
        else:
            start += rng.randint(-reach, reach)
        starts.append(max(0, min(start, length - target)))
    return Placement(bucket, resized, (starts[0], starts[1]))


def _draw_scale(face: Face, image: Size, bucket: Size, zooms: tuple[float, float], rng: random.Random) -> float:
    covering = max(bucket[0] / image[0], bucket[1] / image[1])
    largest = max(1.0, covering)
    side = min(bucket)
    low = min(largest, max(covering, side / (face.size * zooms[1])))
    high = min(largest, max(low, side / (face.size * zooms[0])))
    return rng.uniform(low, high)


def _around_zero(reach: int, rng: random.Random) -> int:
    """From -reach to reach, most often near 0: the sum of two dice."""
    return rng.randint(0, reach) + rng.randint(0, reach) - reach


def _round(value: float) -> int:
    return int(value + 0.5)


def face_crop_notices(datasets: Sequence[Dataset]) -> list[str]:
    """One for each subset that asks for face crops and has images whose names tell no face."""
    notices = []
    for dataset in datasets:
        for number, subset in enumerate(dataset.settings.subsets):
            if subset.face_crop_aug_range is None:
                continue
            records = [record for record in dataset.records if record.subset == number]
            faceless = [record.path for record in records if face_of(record.path) is None]
            if faceless:
                notices.append(_about_faceless(subset.image_dir, faceless, records))
    return notices


def _about_faceless(folder: Path, faceless: Sequence[Path], records: Sequence[ImageRecord]) -> str:
    return (
        "face_crop_aug_range: cropped as usual, since the name does not tell where the face is "
        f"(NAME_CENTREX_CENTREY_WIDTH_HEIGHT): {len(faceless)} of {counted(len(records), 'image')} in '{folder}': "
        f"{examples(faceless)}"
    )
