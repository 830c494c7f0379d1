"""resize_crop: from image files to the pixels and masks that are trained on."""

import base64
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from library.dataset.augmentations.augmentation import show, still_view
from library.dataset.buckets.placement_rule import placement_rule
from library.dataset.findings import Findings
from library.dataset.images.image_headers import read_image_header
from library.dataset.images.picture_files import FilePictures
from library.dataset.images.pictures import Picture
from library.dataset.records import ImageRecord
from library.options.dataset_settings import DatasetSettings, SubsetSettings
from tests.golden.tables import numbered, table, tensors

RESIZE = table("resize_crop")
PIXELS = tensors("resize_crop")
FAULTS = {case["fault"]: case for case in RESIZE["reference_faults"]}


def shown(case, folder: Path, size: tuple[int, int], buckets: DatasetSettings, alpha_mask=False) -> Picture:
    file = folder / "Bild ä 1.png"
    file.write_bytes(base64.b64decode(case["png"]))
    assert read_image_header(file).size == size
    findings = Findings()
    placement = placement_rule(buckets, findings)(size)
    assert placement is not None
    assert not findings.problems
    record = ImageRecord(0, 0, file.name, file, size, placement, "", 1, is_reg=False, alpha_mask=alpha_mask)
    rules = SubsetSettings(resize_interpolation=case.get("interpolation"))
    return show(FilePictures().read(record), still_view(record, rules))


def buckets_of(case) -> DatasetSettings:
    if case.get("resolution") is None:  # the one bucket is given
        return DatasetSettings(resolution=tuple(case["bucket"]))
    return DatasetSettings(
        resolution=tuple(case["resolution"]), enable_bucket=True, min_bucket_reso=case["min"],
        max_bucket_reso=case["max"], bucket_reso_steps=case["steps"], bucket_no_upscale=case["no_upscale"],
    )  # fmt: skip


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """A difference of 1, of 2 in rare pixels."""
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.max() <= 2
    assert (difference > 1).mean() < 0.001


@pytest.mark.parametrize(("name", "case"), numbered(RESIZE["cases"], "name"))
def test_pixels(name, case, tmp_path):
    has_mask = f"{name}.alpha" in PIXELS
    picture = shown(case, tmp_path, tuple(case["size"]), buckets_of(case), has_mask)
    assert picture.pixels.shape[1::-1] == tuple(case["bucket"])
    assert_close(picture.pixels, PIXELS[name].numpy())
    if has_mask:
        assert_close(picture.mask, PIXELS[f"{name}.alpha"].numpy())
    else:
        assert picture.mask is None


def test_there_are_all_kinds_of_pictures():
    assert len(RESIZE["cases"]) >= 4
    assert {case["mode"] for case in RESIZE["cases"]} == {"RGB", "alpha"}


def test_transparent_parts_are_white_and_not_the_colour_beneath(tmp_path):
    case = FAULTS["transparent_colour"]
    picture = shown(case, tmp_path, tuple(case["size"]), DatasetSettings(resolution=tuple(case["bucket"])))
    with Image.open(tmp_path / "Bild ä 1.png") as image:
        alpha = np.asarray(image.convert("RGBA"))[:, 8:72, 3]
    faulty = PIXELS[case["name"]].numpy()
    assert (alpha == 0).any()
    assert (picture.pixels[alpha == 0] == 255).all()
    assert (faulty[alpha == 0] != 255).any()
    np.testing.assert_array_equal(picture.pixels[alpha == 255], faulty[alpha == 255])


def test_a_turned_photo_is_trained_upright(tmp_path):
    case = FAULTS["rotation_ignored"]
    picture = shown(case, tmp_path, tuple(case["upright"]), DatasetSettings(resolution=tuple(case["bucket"])))
    with Image.open(tmp_path / "Bild ä 1.png") as image:
        assert image.size == tuple(case["size"])
        orientation = image.getexif()[0x0112]
        lying = np.asarray(image.convert("RGB"))
    assert orientation in (6, 8)
    upright = np.rot90(lying, -1 if orientation == 6 else 1)
    assert case["upright"] == [64, 80]
    np.testing.assert_array_equal(picture.pixels, upright[8:72])
