"""Pictures with their masks, as the files of a run give them."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from library.dataset.buckets.aspect_buckets import Placement
from library.dataset.findings import Findings
from library.dataset.images.image_files import UnreadableImageError
from library.dataset.images.picture_files import FilePictures
from library.dataset.records import ImageRecord, ListedImage
from library.dataset.scanning.image_scan import ImageReading, read_image_sizes

COLOURS = np.array([[[200, 30, 40], [10, 220, 60], [7, 8, 9]], [[0, 0, 255], [90, 90, 90], [1, 2, 3]]], np.uint8)
ALPHA = np.array([[0, 255, 100], [255, 255, 7]], np.uint8)


def save(path, alpha=None):
    image = Image.fromarray(COLOURS)
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    image.save(path)
    return path


def record_of(path, **values) -> ImageRecord:
    placement = Placement((3, 2), (3, 2), (0, 0))
    return ImageRecord(0, 0, path.name, path, (3, 2), placement, "", 1, False, **values)


def test_without_a_mask_transparent_parts_are_white(tmp_path):
    found = FilePictures().read(record_of(save(tmp_path / "bild ä.png", ALPHA)))
    assert found.mask is None
    assert found.pixels[0, 0].tolist() == [255, 255, 255]
    assert found.pixels[0, 1].tolist() == [10, 220, 60]


def test_transparency_as_mask_leaves_the_colours_beneath(tmp_path):
    found = FilePictures().read(record_of(save(tmp_path / "a.png", ALPHA), alpha_mask=True))
    np.testing.assert_array_equal(found.pixels, COLOURS)
    np.testing.assert_array_equal(found.mask, ALPHA)


@pytest.mark.parametrize("alpha", [None, np.full((2, 3), 255, np.uint8)])
def test_an_opaque_image_has_no_mask(tmp_path, alpha):
    found = FilePictures().read(record_of(save(tmp_path / "a.png", alpha), alpha_mask=True))
    assert found.mask is None
    np.testing.assert_array_equal(found.pixels, COLOURS)


@pytest.mark.parametrize("alpha_mask", [False, True])
def test_the_red_of_a_mask_picture_beats_transparency(tmp_path, alpha_mask):
    mask = save(tmp_path / "mask.png", 255 - ALPHA)
    record = record_of(save(tmp_path / "a.png", ALPHA), alpha_mask=alpha_mask, mask_path=mask)
    found = FilePictures().read(record)
    np.testing.assert_array_equal(found.mask, COLOURS[..., 0])
    assert found.pixels[0, 0].tolist() == [255, 255, 255]


def test_an_image_of_another_size_than_when_it_was_listed(tmp_path):
    record = replace(record_of(save(tmp_path / "a.png")), size=(30, 20))
    with pytest.raises(UnreadableImageError, match="it is 3x2 now, but was 30x20 when the images were listed"):
        FilePictures().read(record)


def test_a_mask_of_another_size(tmp_path):
    mask = tmp_path / "mask.png"
    Image.new("L", (2, 3)).save(mask)
    record = record_of(save(tmp_path / "a.png"), mask_path=mask)
    with pytest.raises(UnreadableImageError) as caught:
        FilePictures().read(record)
    assert str(caught.value) == f"it is 3x2, but its mask '{mask}' is 2x3; make both the same size"


def test_a_mask_that_cannot_be_read(tmp_path):
    mask = tmp_path / "mask.png"
    mask.write_bytes(b"")
    record = record_of(save(tmp_path / "a.png"), mask_path=mask)
    with pytest.raises(UnreadableImageError) as caught:
        FilePictures().read(record)
    assert str(caught.value) == f"its mask '{mask}': the file is empty"


def test_masks_are_checked_when_the_images_are_listed(tmp_path):
    small = tmp_path / "small mask.png"
    Image.new("L", (2, 3)).save(small)
    fitting = tmp_path / "mask.png"
    Image.new("L", (3, 2)).save(fitting)
    images = [
        ListedImage(save(tmp_path / "a.png"), "a.png", "", small),
        ListedImage(save(tmp_path / "b.png"), "b.png", "", fitting),
        ListedImage(save(tmp_path / "c.png"), "c.png", "", tmp_path / "nowhere.png"),
    ]
    findings = Findings()
    sizes = read_image_sizes(images, tmp_path, ImageReading(), findings)
    assert sizes == {tmp_path / "b.png": (3, 2)}
    assert [skipped.reason for skipped in findings.skipped] == [
        f"it is 3x2, but its mask '{small}' is 2x3; make both the same size",
        f"its mask '{tmp_path / 'nowhere.png'}': No such file or directory",
    ]


def test_fingerprints_tell_contents_and_masks_apart(tmp_path):
    pictures = FilePictures()
    plain, opaque = save(tmp_path / "transparent.png", ALPHA), save(tmp_path / "opaque.png")
    one, other = save(tmp_path / "mask 1.png"), save(tmp_path / "mask 2.png", ALPHA)
    records = [
        record_of(plain),
        record_of(plain, alpha_mask=True),
        record_of(plain, mask_path=one),
        record_of(plain, mask_path=other),
        record_of(opaque),
        record_of(opaque, mask_path=one),
    ]
    assert len({pictures.fingerprint(record) for record in records}) == len(records)


def test_fingerprints_are_the_same_for_the_same_picture(tmp_path):
    pictures = FilePictures()
    first, second = save(tmp_path / "a.png", ALPHA), save(tmp_path / "renamed.jpg.png", ALPHA)
    mask, same_mask = save(tmp_path / "mask.png"), save(tmp_path / "same mask.png")
    opaque = save(tmp_path / "opaque.png")
    for values, others in [
        ({}, {}),
        ({"alpha_mask": True}, {"alpha_mask": True}),
        ({"mask_path": mask}, {"mask_path": same_mask, "alpha_mask": True}),
    ]:
        assert pictures.fingerprint(record_of(first, **values)) == pictures.fingerprint(record_of(second, **others))
    assert pictures.fingerprint(record_of(opaque)) == pictures.fingerprint(record_of(opaque, alpha_mask=True))


def test_missing_files_have_no_fingerprint(tmp_path):
    path = save(tmp_path / "a.png")
    for record in (record_of(tmp_path / "gone.png"), record_of(path, mask_path=tmp_path / "gone.png")):
        with pytest.raises(UnreadableImageError, match="No such file"):
            FilePictures().fingerprint(record)


def test_it_can_be_sent_to_other_processes(tmp_path):
    record = record_of(save(tmp_path / "a.png"))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(FilePictures())).read(record).pixels, COLOURS)
