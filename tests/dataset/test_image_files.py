"""Reading pictures of all kinds, upright, in RGB, on white."""

import io

import numpy as np
import pytest
from PIL import Image

from library.dataset.image_files import UnreadableImageError, find_images, read_image, read_image_size

COLOURS = np.array([[[200, 30, 40], [10, 220, 60]], [[0, 0, 255], [90, 90, 90]], [[255, 255, 0], [1, 2, 3]]], np.uint8)


def picture() -> Image.Image:
    """2 wide, 3 high"""
    return Image.fromarray(COLOURS)


@pytest.mark.parametrize("extension", ["png", "bmp", "webp"])
def test_lossless_formats(tmp_path, extension):
    path = tmp_path / f"bild ä.{extension}"
    picture().save(path, lossless=True)
    size = read_image_size(path)
    assert (size.width, size.height) == (2, 3)
    np.testing.assert_array_equal(read_image(path), COLOURS)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, COLOURS),
        (2, COLOURS[:, ::-1]),
        (3, COLOURS[::-1, ::-1]),
        (6, np.rot90(COLOURS, -1)),
        (8, np.rot90(COLOURS, 1)),
    ],
)
def test_camera_orientation_is_applied(tmp_path, orientation, expected):
    path = tmp_path / "photo.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture().save(path, exif=exif)
    size = read_image_size(path)
    assert (size.height, size.width) == expected.shape[:2]
    np.testing.assert_array_equal(read_image(path), expected)


def test_transparent_parts_become_white(tmp_path):
    path = tmp_path / "picture.png"
    alpha = Image.fromarray(np.array([[0, 255], [255, 255], [255, 0]], np.uint8))
    with_alpha = picture()
    with_alpha.putalpha(alpha)
    with_alpha.save(path)
    expected = COLOURS.copy()
    expected[0, 0] = expected[2, 1] = 255
    np.testing.assert_array_equal(read_image(path), expected)


def test_transparent_palette_colour_becomes_white(tmp_path):
    path = tmp_path / "picture.png"
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    palette.save(path, transparency=1)
    np.testing.assert_array_equal(read_image(path), [[[10, 20, 30], [255, 255, 255]]])


def test_gray_and_cmyk(tmp_path):
    Image.new("L", (2, 1), 77).save(tmp_path / "gray.png")
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "print.jpg")
    assert read_image(tmp_path / "gray.png").tolist() == [[[77, 77, 77]] * 2]
    assert (read_image(tmp_path / "print.jpg") >= 250).all()


def encoded(image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(buffer, image_format)
    return buffer.getvalue()


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_files_are_noticed_by_their_headers_and_ends(tmp_path, image_format, share):
    path = tmp_path / "picture.png"
    content = encoded(image_format)
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnreadableImageError):
        read_image_size(path)
    with pytest.raises(UnreadableImageError):
        read_image(path)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_wrong_extensions_do_not_matter(tmp_path, image_format):
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(image_format))
    size = read_image_size(path)
    assert (size.width, size.height) == (64, 64)


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not a picture")
    for name, reason in (("empty.png", "not an image"), ("text.png", "not an image"), ("gone.png", "No such file")):
        with pytest.raises(UnreadableImageError, match=reason):
            read_image_size(tmp_path / name)


def test_finding_images(tmp_path):
    for name in ("b.PNG", "a.jpeg", "c.Webp", "._a.jpeg", "notes.txt", "d.gif", "e.bmp"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "f.png").write_bytes(b"")
    assert [path.name for path in find_images(tmp_path)] == ["a.jpeg", "b.PNG", "c.Webp", "e.bmp"]
