"""What an exposure shows: drawn from the seed, the image and the exposure, each kind by itself."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from library.dataset.augmentations.augmentation import View, show, still_view, view_of
from library.dataset.augmentations.colour_changes import ColourChange
from library.dataset.batch_plan import Exposure
from library.dataset.buckets.aspect_buckets import Placement
from library.dataset.images.pictures import Picture
from library.dataset.records import ImageRecord
from library.options.dataset_settings import SubsetSettings

PLACEMENT = Placement(bucket=(64, 48), resized=(70, 48), crop=(3, 0))
RECORD = ImageRecord(0, 0, "ä.png", Path("ä.png"), (140, 96), PLACEMENT, "", repeats=1, is_reg=False)
IN_A_CORNER = replace(RECORD, path=Path("a_20_30_60_60.png"))
EVERYTHING = {"flip_aug": True, "color_aug": True, "random_crop": True, "face_crop_aug_range": (1.0, 2.0)}


def views(record=RECORD, seed=4, count=200, **rules) -> list[View]:
    return [view_of(Exposure(record, number), SubsetSettings(**rules), seed) for number in range(count)]


def test_without_rules_a_view_is_what_was_planned():
    assert set(views()) == {View(PLACEMENT)}
    assert set(views(resize_interpolation="box")) == {View(PLACEMENT, interpolation="box")}
    assert still_view(RECORD, SubsetSettings(resize_interpolation="box"), flipped=True) == View(PLACEMENT, True, interpolation="box")  # fmt: skip  # noqa: E501


def test_flips_are_those_of_earlier_versions():
    """Pinned: other flips would make other networks of the same settings."""
    flips = "".join("01"[view.flipped] for view in views(flip_aug=True, count=32))
    assert flips == "01101000001110011001000110011101"


@pytest.mark.parametrize("kind", ["flip_aug", "color_aug", "random_crop"])
def test_no_draw_changes_another(kind):
    def drawn(view: View):
        return {"flip_aug": view.flipped, "color_aug": view.colour, "random_crop": view.placement}[kind]

    alone = [drawn(view) for view in views(**{kind: True})]
    assert len(set(alone)) > 1
    assert alone == [drawn(view) for view in views(**EVERYTHING)]
    assert alone != [drawn(view) for view in views(seed=5, **EVERYTHING)]
    other = replace(RECORD, name="b.png")
    assert alone != [drawn(view) for view in views(other, **EVERYTHING)]


def test_random_crops_are_anywhere_alike():
    record = replace(RECORD, placement=Placement((64, 48), (70, 51), (3, 1)))
    placements = [view.placement for view in views(record, count=7000, random_crop=True)]
    assert {(one.bucket, one.resized) for one in placements} == {((64, 48), (70, 51))}
    lefts, tops = (Counter(one.crop[axis] for one in placements) for axis in (0, 1))
    assert {place: round(count / 7000, 1) for place, count in lefts.items()} == dict.fromkeys(range(7), 0.1)
    assert {place: round(count / 7000 * 8) for place, count in tops.items()} == dict.fromkeys(range(4), 2)
    together = Counter(one.crop for one in placements)
    assert len(together) == 28


def test_face_crops_keep_the_bucket():
    drawn = [view.placement for view in views(IN_A_CORNER, face_crop_aug_range=(1.0, 2.0))]
    assert {one.bucket for one in drawn} == {(64, 48)}
    assert len({one.resized for one in drawn}) > 10
    assert all(one.crop[0] <= 5 and one.crop[1] <= 6 for one in drawn), "the face is at the left and the top"
    at_random = [view.placement for view in views(IN_A_CORNER, face_crop_aug_range=(1.0, 2.0), random_crop=True)]
    assert max(one.crop[0] for one in at_random) > 30


def test_an_image_whose_name_tells_no_face_is_cropped_as_usual():
    assert set(views(face_crop_aug_range=(1.0, 2.0))) == {View(PLACEMENT)}
    plain = views(random_crop=True)
    assert views(face_crop_aug_range=(1.0, 2.0), random_crop=True) == plain


def coordinates(height: int, width: int) -> np.ndarray:
    """Each pixel tells its column, its row and 7."""
    rows, columns = np.mgrid[:height, :width]
    return np.dstack([columns, rows, np.full_like(rows, 7)]).astype(np.uint8)


@pytest.mark.parametrize("mask_is_alpha", [False, True])
def test_the_mask_goes_with_the_picture(mask_is_alpha):
    pixels = coordinates(51, 70)
    picture = Picture(pixels, pixels[..., 0].copy(), mask_is_alpha)
    for view in (
        View(Placement((64, 48), (70, 51), (5, 2))),
        View(Placement((64, 48), (70, 51), (1, 3)), flipped=True),
    ):
        shown = show(picture, view)
        left, top = view.placement.crop
        columns = list(range(left, left + 64))
        assert shown.pixels[0, :, 0].tolist() == (columns[::-1] if view.flipped else columns)
        assert shown.pixels[:, 0, 1].tolist() == list(range(top, top + 48))
        np.testing.assert_array_equal(shown.mask, shown.pixels[..., 0])


def test_a_mask_is_resized_with_the_picture():
    mask = np.zeros((96, 140), np.uint8)
    mask[:, 70:] = 255
    shown = show(Picture(coordinates(96, 140), mask), View(PLACEMENT, flipped=True))
    assert shown.mask.shape == (48, 64)
    assert shown.mask[0].tolist() == [255] * 32 + [0] * 32


def test_colours_change_and_masks_do_not():
    picture = Picture(np.full((48, 70, 3), 128, np.uint8), np.full((48, 70), 128, np.uint8))
    shown = show(picture, View(PLACEMENT, colour=ColourChange(gamma=1.05)))
    assert (shown.pixels.min(), shown.pixels.max()) == (124, 124)
    assert (shown.mask.min(), shown.mask.max()) == (128, 128)


def test_the_crop_is_mirrored_with_the_picture():
    view = View(Placement((64, 48), (71, 50), (3, 2)))
    assert view.crop == (3, 2)
    assert replace(view, flipped=True).crop == (4, 2)
