"""What is said about images that do not suit their training size."""

from pathlib import Path

import pytest

from library.dataset.buckets.aspect_buckets import cover, place_without_upscaling, place_without_upscaling_within
from library.dataset.buckets.placement_rule import placement_rule
from library.dataset.findings import Findings
from library.dataset.records import Dataset, ImageRecord
from library.dataset.scanning.placement_report import placement_warnings
from library.options.dataset_settings import DatasetSettings


def record(name: str, size, target) -> ImageRecord:
    return ImageRecord(0, 0, name, Path(name), size, cover(size, target), "", repeats=1, is_reg=False)


def dataset_of(records) -> Dataset:
    return Dataset(DatasetSettings(resolution=(512, 512)), tuple(records))


def test_what_a_placement_costs():
    placement = cover((1000, 500), (512, 512))
    assert placement.resized == (1024, 512)
    assert placement.cropped_share == 0.5
    assert placement.enlargement((1000, 500)) == 1.024
    assert cover((512, 512), (512, 512)).cropped_share == 0


def test_heavy_enlargement_and_cropping_are_told_worst_first():
    records = [
        record("fits.png", (600, 600), (512, 512)),
        record("small.png", (200, 200), (512, 512)),
        record("tiny.png", (64, 64), (512, 512)),
        record("wide.png", (4000, 1000), (512, 512)),
    ]
    enlarged, cropped = placement_warnings(dataset_of(records))
    assert enlarged.startswith(
        "enlarged more than 2 times for the resolution 512x512, and so blurred: 2 of 4 images, up to 8.0 times: "
        "tiny.png, small.png; use larger originals"
    )
    assert cropped.startswith(
        "more than half of the area cropped away at the resolution 512x512: 1 of 4 images, up to 75%: wide.png; crop "
    )


def test_a_single_image_is_one_image():
    (enlarged,) = placement_warnings(dataset_of([record("tiny.png", (64, 64), (512, 512))]))
    assert "1 of 1 image, up to 8.0 times: tiny.png; " in enlarged


def test_nothing_is_said_of_images_that_fit():
    records = [record("half.png", (1024, 512), (512, 512)), record("twice.png", (256, 256), (512, 512))]
    assert list(placement_warnings(dataset_of(records))) == []


LIMITS = {"resolution": (1024, 1024), "steps": 64, "min_side": 256, "max_side": 2048}


@pytest.mark.parametrize(
    ("image", "bucket"),
    [
        ((8000, 300), (2048, 256)),
        ((300, 8000), (256, 2048)),
        ((4000, 3000), (1088, 832)),
        ((300, 300), (256, 256)),
        ((5000, 900), (2048, 384)),
    ],
)
def test_limits_are_kept_without_upscaling(image, bucket):
    placement = place_without_upscaling_within(image, **LIMITS)
    assert placement.bucket == bucket
    assert placement.enlargement(image) <= 1


@pytest.mark.parametrize("image", [(200, 900), (255, 255), (40, 500)])
def test_images_below_the_smallest_side_have_no_placement(image):
    assert place_without_upscaling_within(image, **LIMITS) is None


def test_within_the_limits_nothing_changes():
    for image in [(1000, 800), (3000, 2000), (640, 480), (2048, 512)]:
        own = place_without_upscaling(image, LIMITS["resolution"], LIMITS["steps"])
        assert place_without_upscaling_within(image, **LIMITS) == own


def rule_of(**settings):
    findings = Findings()
    settings = {"resolution": (1024, 1024), "enable_bucket": True, "bucket_no_upscale": True, **settings}
    return placement_rule(DatasetSettings(**settings), findings), findings


def test_buckets_beyond_the_limits_are_told():
    """The reference ignores the limits, as its documentation says; nobody notices."""
    place, findings = rule_of()
    settings = DatasetSettings(resolution=(1024, 1024), enable_bucket=True, bucket_no_upscale=True)
    sizes = {"long.png": (8000, 300), "small.png": (100, 100), "fine.png": (800, 600)}
    records = [
        ImageRecord(0, 0, name, Path(name), size, place(size), "", repeats=1, is_reg=False)
        for name, size in sizes.items()
    ]
    *_, warning = placement_warnings(Dataset(settings, tuple(records)))
    assert warning.startswith("bucket_no_upscale ignores min_bucket_reso 256 and max_bucket_reso 1024: 2 of 3 images")
    assert "up to 5120x192: long.png, small.png" in warning
    assert "enforce_bucket_limits" in warning
    assert list(placement_warnings(Dataset(settings, (records[2],)))) == []
    assert findings == Findings()


def test_limits_can_be_enforced():
    place, findings = rule_of(max_bucket_reso=2048, enforce_bucket_limits=True)
    assert place((8000, 300)).bucket == (2048, 256)
    assert findings == Findings()


def test_enforced_limits_must_make_sense():
    _, findings = rule_of(max_bucket_reso=512, enforce_bucket_limits=True)
    assert "max_bucket_reso 512 must not be below the resolution" in findings.problems[0]
