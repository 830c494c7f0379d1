"""What is said about every kind of odd image file."""

from collections import defaultdict

import pytest
from PIL import Image

from library.linting import image_checks
from tests.dataset.images.odd_images import make_odd_images
from tests.linting.linted import check, codes, found, picture

EXPECTED = {
    "image.empty": {"empty.png"},
    "image.cut_short": {"damaged pixels.png"}
    | {f"cut short.{kind}" for kind in ("png", "jpeg", "webp", "bmp", "gif", "tiff")},
    "image.unreadable": {
        "archive.png", "bomb.png", "broken link.png", "broken start.png", "drawing.png", "film.jpg",
        "floating point.tiff", "no width.png", "text.png", "web page.jpg", "zeros.jpg",
    },
    "image.mislabelled": {"really a png.jpg"},
    "image.animated": {"animated.gif", "animated.png", "animated.webp", "two pages.tiff"},
    "image.transparent": {
        "colours 16 bits, one transparent.png", "palette.png", "transparent 16 bits.png", "transparent grey.png",
        "transparent.gif", "transparent.png", "transparent.webp",
    },
    "image.turned": {"turned.jpg", "turned.png", "turned.tiff", "turned.webp"},
    "image.deep": {
        "colours 16 bits, one transparent.png", "colours 16 bits.png", "grey 16 bits.png", "grey 16 bits.tiff",
        "transparent 16 bits.png",
    },
    "image.print_colours": {"print.jpg", "print.tiff"},
    "image.plain": {"tiny.png"},
    "folder.junk": {"._photo.jpg"},
}  # fmt: skip


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd") / "1_ding"
    return make_odd_images(folder), check(folder)


def test_every_kind(odd):
    images, report = odd
    assert len(images) > 50
    names = defaultdict(set)
    for finding in report.findings:
        if len(finding.files) == 1:
            names[finding.kind.code].add(finding.files[0].name)
    refused = {image.name for image in images if image.reason} - names["image.empty"] - names["image.cut_short"]
    assert names["image.unreadable"] == refused
    for code, expected in EXPECTED.items():
        # what is forbidden to others may be read by an administrator
        assert names[code] - {"forbidden.png"} == expected, code


def test_reasons(odd):
    unreadable = found(odd[1], "image.unreadable")
    assert unreadable["web page.jpg"] == "it is a web page, not an image"
    assert "floating-point" in unreadable["floating point.tiff"]
    assert found(odd[1], "image.mislabelled")["really a png.jpg"] == "is a PNG file; .png would be right"
    assert found(odd[1], "image.turned")["turned.jpg"] == "96x64 when upright"
    assert found(odd[1], "image.animated")["animated.gif"] == "2 pictures"


def test_sound_images_of_all_formats_have_none_of_these_faults(dogs):
    for extension in ("jpg", "JPEG", "webp", "bmp", "tif", "GIF"):
        Image.fromarray(picture(ord(extension[0]))).save(dogs / f"of format {extension}.{extension}")
    report = check(dogs)
    assert len(report.facts) == 18
    assert codes(report) <= {"caption.missing", "trigger.missing"}


def test_images_that_share_a_caption(dogs):
    Image.fromarray(picture(50)).save(dogs / "dog 03.webp")
    assert found(check(dogs), "image.same_name") == {"dog 03.png, dog 03.webp": ""}


def test_huge_images(dogs, monkeypatch):
    monkeypatch.setattr(image_checks, "HUGE", 96 * 64)
    Image.fromarray(picture(50, 96, 65)).save(dogs / "large.png")
    assert list(found(check(dogs), "image.huge")) == ["large.png"]
