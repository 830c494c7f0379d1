"""Crops around faces: how close, and where."""

from dataclasses import replace
from pathlib import Path

import pytest

from library.dataset.augmentations.face_crops import Face, crop_around, face_crop_notices, face_of
from library.options.dataset_settings import DatasetSettings, SubsetSettings
from library.randomness import python_generator
from tests.dataset.batches.planned_runs import dataset_of

IMAGE, BUCKET = (1600, 1200), (512, 384)


def crops(face: Face, zooms, image=IMAGE, bucket=BUCKET, anywhere=False, count=400):
    return [
        crop_around(face, image, bucket, zooms, anywhere, python_generator(2, "face crop", number))
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("photo_100_200_30_40.png", Face((100, 200), 40)),
        ("bild ä_mit_strich_7_8_90_10.webp", Face((7, 8), 90)),
        ("folder_1_2_3_4/plain.png", None),
        ("100_200_30_40.png", None),
        ("photo_100_200_30.png", None),
        ("photo_100_200_30_4x.png", None),
        ("photo_-1_200_30_40.png", None),
        ("photo_1_2_0_0.png", None),
    ],
)
def test_faces_in_file_names(name, expected):
    assert face_of(Path("a_1_2_3_4") / name) == expected


def test_zooms_stay_in_their_range():
    """The bucket's shorter side, 384 pixels, is two to three times as long as the face, which is 200 in the file."""
    scales = [placement.resized[0] / IMAGE[0] for placement in crops(Face((800, 600), 200), (2.0, 3.0))]
    assert min(scales) == pytest.approx(384 / 600, abs=0.005)
    assert max(scales) == pytest.approx(384 / 400, abs=0.005)
    for placement in crops(Face((800, 600), 200), (2.0, 3.0)):
        assert placement.bucket == BUCKET
        assert placement.resized[1] == pytest.approx(placement.resized[0] * 0.75, abs=1)


@pytest.mark.parametrize(
    ("face", "zooms", "image", "expected"),
    [
        (Face((800, 600), 200), (2.5, 2.5), IMAGE, 384 / 500),
        (Face((800, 600), 20), (1.0, 1.0), IMAGE, 1.0),
        (Face((800, 600), 1000), (4.0, 9.0), IMAGE, 0.32),
        (Face((100, 80), 50), (1.0, 3.0), (256, 256), 2.0),
    ],
    ids=["one zoom", "never enlarged", "covers the bucket", "a small image is enlarged as far as it must"],
)
def test_limits_of_zooms(face, zooms, image, expected):
    for placement in crops(face, zooms, image, count=20):
        assert placement.resized == (int(image[0] * expected + 0.5), int(image[1] * expected + 0.5))


def test_the_face_is_in_the_middle():
    """Without a range of zooms nothing is left to chance."""
    (placement,) = set(crops(Face((700, 500), 192), (2.0, 2.0)))
    assert placement.resized == IMAGE
    assert placement.crop == (700 - 256, 500 - 192)


def test_the_crop_ends_at_the_border():
    assert {one.crop for one in crops(Face((10, 1190), 192), (2.0, 2.0))} == {(0, 1200 - 384)}
    assert {one.crop for one in crops(Face((9000, 9000), 192), (2.0, 2.0))} == {(1600 - 512, 1200 - 384)}


def offsets(face, zooms, anywhere):
    """By how much faces are away from the middle of the crop, in pixels."""
    for placement in crops(face, zooms, anywhere=anywhere, count=3000):
        scale = placement.resized[0] / IMAGE[0]
        yield tuple(
            start + side // 2 - place * scale
            for start, side, place in zip(placement.crop, BUCKET, face.centre, strict=True)
        )


def test_a_range_of_zooms_moves_the_face_a_little():
    across, down = zip(*offsets(Face((800, 600), 192), (1.9, 2.0), anywhere=False), strict=True)
    for found in (across, down):
        assert min(found) == pytest.approx(-9, abs=0.6), "a twentieth of 192"
        assert max(found) == pytest.approx(9, abs=0.6)
        assert abs(sum(found) / len(found)) < 0.5


@pytest.mark.parametrize("size", [39, 38])
def test_small_faces_are_not_moved(size):
    across, _ = zip(*offsets(Face((800, 600), size), (1.0, 2.0), anywhere=False), strict=True)
    assert max(map(abs, across)) <= 0.6


def test_random_crops_move_the_face_anywhere_but_rather_to_the_middle():
    face = Face((800, 600), 192)
    placements = crops(face, (2.0, 2.0), anywhere=True, count=3000)
    lefts = [placement.crop[0] for placement in placements]
    assert (min(lefts), max(lefts)) == (0, 1600 - 512)
    assert sum(lefts) / len(lefts) == pytest.approx(544, abs=15)
    near = sum(abs(left - 544) < 200 for left in lefts) / len(lefts)
    assert near == pytest.approx(2 * 0.25 - 0.25**2, abs=0.04), "the sum of two dice"


def test_images_without_a_face_are_told():
    dataset = dataset_of(["x"] * 8)
    records = [replace(one, path=Path(f"bild_{n}_4_5_6.png") if n < 2 else one.path) for n, one in enumerate(dataset.records)]  # fmt: skip  # noqa: E501
    subset = SubsetSettings(image_dir=Path("mein Ordner"), face_crop_aug_range=(1.0, 2.0))
    with_faces = replace(dataset, settings=DatasetSettings(subsets=(subset,)), records=tuple(records))
    (notice,) = face_crop_notices([with_faces, dataset])
    assert notice == (
        "face_crop_aug_range: cropped as usual, since the name does not tell where the face is "
        "(NAME_CENTREX_CENTREY_WIDTH_HEIGHT): 6 of 8 images in 'mein Ordner': 2.png, 3.png, 4.png, 5.png, 6.png, and 1 "
        "more"
    )
    assert face_crop_notices([replace(with_faces, records=tuple(records[:2]))]) == []
