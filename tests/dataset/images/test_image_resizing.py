"""Resampling filters by their names."""

import cv2
import numpy as np
import pytest
from PIL import Image

from library.dataset.buckets.aspect_buckets import Placement
from library.dataset.images.image_resizing import resize_and_crop
from library.options.schema import all_options

NOISE = np.random.default_rng(8).integers(0, 256, (30, 40, 3), np.uint8)
OPENCV = {
    "nearest": cv2.INTER_NEAREST_EXACT, "bilinear": cv2.INTER_LINEAR, "linear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA,
}  # fmt: skip
PILLOW = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}
SMALLER, LARGER = (21, 17), (64, 50)


def resized(picture, size, interpolation=None):
    return resize_and_crop(picture, Placement(bucket=size, resized=size, crop=(0, 0)), interpolation)


def by_library(picture, size, interpolation):
    if interpolation in OPENCV:
        return cv2.resize(picture, size, interpolation=OPENCV[interpolation])
    return np.asarray(Image.fromarray(picture).resize(size, PILLOW[interpolation]))


@pytest.mark.parametrize("size", [SMALLER, LARGER])
@pytest.mark.parametrize("interpolation", [*OPENCV, *PILLOW])
def test_filters_are_those_of_their_libraries(interpolation, size):
    for picture in (NOISE, np.ascontiguousarray(NOISE[..., 0]), np.dstack([NOISE, NOISE[..., 1]])):
        np.testing.assert_array_equal(
            resized(picture, size, interpolation), by_library(picture, size, interpolation)
        )  # fmt: skip


def test_every_choice_of_the_option_has_its_filter():
    choices = all_options()["resize_interpolation"].choices
    assert set(choices) == {*OPENCV, *PILLOW}
    results = {choice: resized(NOISE, SMALLER, choice).tobytes() for choice in choices}
    assert results["linear"] == results["bilinear"]
    assert results["cubic"] == results["bicubic"]
    assert len(set(results.values())) == len(choices) - 2


@pytest.mark.parametrize(
    ("size", "expected"), [(SMALLER, "area"), ((40, 17), "area"), (LARGER, "lanczos"), ((64, 17), "lanczos")]
)
def test_default_filters(size, expected):
    np.testing.assert_array_equal(resized(NOISE, size), by_library(NOISE, size, expected))


@pytest.mark.parametrize("interpolation", [None, *OPENCV, *PILLOW])
def test_a_picture_of_the_right_size_stays_as_it_is(interpolation):
    np.testing.assert_array_equal(resized(NOISE, (40, 30), interpolation), NOISE)


def test_cropping():
    found = resize_and_crop(NOISE, Placement(bucket=(16, 24), resized=(40, 30), crop=(3, 5)))
    np.testing.assert_array_equal(found, NOISE[5:29, 3:19])
