"""buckets.json: which size an image is trained at."""

import pytest

from library.dataset.buckets.aspect_buckets import (
    Placement,
    cover,
    place_in_nearest_bucket,
    place_without_upscaling,
    predefined_buckets,
)
from tests.golden.tables import numbered, table

BUCKETS = table("buckets")


def rule_of(setting):
    resolution, steps = tuple(setting["resolution"]), setting["bucket_reso_steps"]
    if setting["bucket_no_upscale"]:
        return lambda size: place_without_upscaling(size, resolution, steps)
    buckets = predefined_buckets(resolution, setting["effective_min"], setting["effective_max"], steps)
    assert buckets == [tuple(size) for size in setting["buckets"]]
    return lambda size: place_in_nearest_bucket(size, buckets)


def row_of(size, placement: Placement) -> list[int]:
    return [*size, *placement.bucket, *placement.resized, *placement.crop]


@pytest.mark.parametrize(("name", "setting"), numbered(BUCKETS["settings"], "name"))
def test_placement(name, setting):
    place = rule_of(setting)
    assert setting["images"]
    for row in setting["images"]:
        assert row_of(row[:2], place(tuple(row[:2]))) == row


def test_without_buckets():
    for case in BUCKETS["without_buckets"]:
        size = tuple(case["row"][:2])
        assert row_of(size, cover(size, tuple(case["resolution"]))) == case["row"]
    assert len(BUCKETS["without_buckets"]) > 10


def test_images_smaller_than_a_step_have_no_placement():
    settings = {setting["name"]: setting for setting in BUCKETS["settings"]}
    for case in BUCKETS["reference_faults"]["zero_size_buckets"]:
        assert rule_of(settings[case["setting"]])((case["width"], case["height"])) is None
