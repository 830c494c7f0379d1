"""Reading pictures of all kinds, upright, in RGB, on white."""

import io

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from library.dataset.images.image_decoding import read_colours_and_alpha, read_image
from library.dataset.images.image_files import IMAGE_EXTENSIONS, UnreadableImageError
from library.dataset.images.image_headers import ImageHeader, read_image_header
from tests.dataset.images.odd_images import HEIGHT, WIDTH, png_file, quartered

COLOURS = np.array([[[200, 30, 40], [10, 220, 60]], [[0, 0, 255], [90, 90, 90]], [[255, 255, 0], [1, 2, 3]]], np.uint8)
AVIF = ["AVIF"] if ".avif" in IMAGE_EXTENSIONS else []


def picture() -> Image.Image:
    """2 wide, 3 high"""
    return Image.fromarray(COLOURS)


@pytest.mark.parametrize("extension", ["png", "bmp", "webp"])
def test_lossless_formats(tmp_path, extension):
    path = tmp_path / f"bild ä.{extension}"
    picture().save(path, lossless=True)
    assert read_image_header(path).size == (2, 3)
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
    assert read_image_header(path).size == expected.shape[1::-1]
    np.testing.assert_array_equal(read_image(path), expected)


def raw_profile(orientation: int) -> str:
    """How ImageMagick stores EXIF data in a PNG text."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = exif.tobytes()
    return f"\nexif\n{len(content):8}\n{content.hex()}\n"


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def behind_the_pixels(content: bytes) -> bytes:
    """A PNG file with its texts moved to where some programs write them."""
    parts, place = [], 8
    while place < len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        parts.append(content[place:end])
        place = end
    texts = [part for part in parts if part[4:8] in (b"tEXt", b"zTXt", b"iTXt")]
    others = [part for part in parts if part not in texts]
    assert len(texts) == 1
    return content[:8] + b"".join(others[:-1] + texts + others[-1:])


@pytest.mark.parametrize("move", [bytes, behind_the_pixels])
@pytest.mark.parametrize(
    ("keyword", "text", "compressed"),
    [
        ("XML:com.adobe.xmp", XMP, False),
        ("XML:com.adobe.xmp", XMP, True),
        ("Raw profile type exif", raw_profile(6), False),
        ("Raw profile type exif", raw_profile(6), True),
    ],
)
def test_orientation_in_texts_of_a_png(tmp_path, keyword, text, compressed, move):
    path = tmp_path / "photo.png"
    texts = PngInfo()
    (texts.add_itxt if keyword.startswith("XML") else texts.add_text)(keyword, text, zip=compressed)
    picture().save(path, pnginfo=texts)
    path.write_bytes(move(path.read_bytes()))
    assert read_image_header(path).size == (3, 2)
    np.testing.assert_array_equal(read_image(path), np.rot90(COLOURS, -1))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "MPO", "WEBP", "TIFF", *AVIF])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_header_and_pixels_agree_about_the_size(tmp_path, image_format, orientation):
    """Whatever the format behind the extension, and although Pillow turns TIFFs by itself."""
    path = tmp_path / "photo.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    frames = {"save_all": True, "append_images": [Image.new("RGB", (16, 48))]} if image_format == "MPO" else {}
    Image.new("RGB", (16, 48)).save(path, image_format, exif=exif.tobytes(), **frames)
    assert read_image_header(path).size == ((48, 16) if orientation >= 5 else (16, 48))
    assert read_image(path).shape == ((16, 48, 3) if orientation >= 5 else (48, 16, 3))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("exif", [b"Exif\0\0no camera data", b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x05"])
def test_broken_camera_data_do_not_matter(tmp_path, exif):
    for image_format in ("JPEG", "PNG", "WEBP"):
        path = tmp_path / f"photo.{image_format}"
        picture().save(path, image_format, exif=exif)
        assert read_image_header(path).size == (2, 3)
        assert read_image(path).shape == (3, 2, 3)


@pytest.mark.parametrize(("keyword", "text"), [("Raw profile type exif", "\nexif\n 4\nzzzz\n"), ("xmp", "text")])
def test_broken_camera_data_in_texts_do_not_matter(tmp_path, keyword, text):
    texts = PngInfo()
    texts.add_text(keyword, text)
    picture().save(tmp_path / "photo.png", pnginfo=texts)
    assert read_image_header(tmp_path / "photo.png").size == (2, 3)
    np.testing.assert_array_equal(read_image(tmp_path / "photo.png"), COLOURS)


def test_long_texts_do_not_matter(tmp_path):
    path = tmp_path / "with a workflow.png"
    texts = PngInfo()
    texts.add_text("workflow", "x" * 3_000_000, zip=True)
    picture().save(path, pnginfo=texts)
    assert read_image_header(path).size == (2, 3)
    np.testing.assert_array_equal(read_image(path), COLOURS)


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


DEEP = np.array([[0, 128 * 257, 200 * 257 + 100], [257, 65535, 20]], np.uint16)
IN_8_BITS = [[0, 128, 200], [1, 255, 0]]


def test_16_bit_grey_is_scaled(tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(DEEP).save(path)
    assert read_image_header(path).size == (3, 2)
    np.testing.assert_array_equal(read_image(path), np.stack([IN_8_BITS] * 3, axis=-1))


def test_the_transparent_value_of_16_bit_grey_becomes_white(tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(DEEP).save(path, transparency=128 * 257)
    assert read_image(path)[..., 0].tolist() == [[0, 255, 200], [1, 255, 0]]


def test_32_bit_whole_numbers_are_read_if_they_fit_into_16_bits(tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(DEEP.astype(np.int32)).save(path, "TIFF")
    assert read_image(path)[..., 0].tolist() == IN_8_BITS
    Image.fromarray(DEEP.astype(np.int32) + 1).save(path, "TIFF")
    with pytest.raises(UnreadableImageError, match="do not fit into 16 bits"):
        read_image(path)


def test_floating_point_pixels_are_refused_by_the_header(tmp_path):
    path = tmp_path / "grey.png"
    Image.new("F", (2, 2), 0.5).save(path, "TIFF")
    for read in (read_image_header, read_image):
        with pytest.raises(UnreadableImageError, match="floating-point numbers; save it with 8 bits"):
            read(path)


def encoded(image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(buffer, image_format)
    return buffer.getvalue()


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", *AVIF])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_files_are_noticed_by_their_headers_and_ends(tmp_path, image_format, share):
    path = tmp_path / "picture.png"
    content = encoded(image_format)
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnreadableImageError):
        read_image_header(path)
    with pytest.raises(UnreadableImageError):
        read_image(path)


def test_a_photo_with_a_film_behind_it_is_whole(tmp_path):
    path = tmp_path / "motion photo.jpg"
    path.write_bytes(encoded("JPEG") + bytes(20_000))
    assert read_image_header(path).size == (64, 64)
    assert read_image(path).shape == (64, 64, 3)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_wrong_extensions_do_not_matter(tmp_path, image_format):
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(image_format))
    assert read_image_header(path).size == (64, 64)


def test_colours_and_transparency_apart(tmp_path):
    path = tmp_path / "picture.png"
    alpha = np.array([[0, 255], [128, 255], [255, 3]], np.uint8)
    with_alpha = picture()
    with_alpha.putalpha(Image.fromarray(alpha))
    with_alpha.save(path)
    colours, found = read_colours_and_alpha(path)
    np.testing.assert_array_equal(colours, COLOURS)
    np.testing.assert_array_equal(found, alpha)


def test_transparency_is_turned_with_the_picture(tmp_path):
    path = tmp_path / "picture.png"
    alpha = np.array([[0, 255], [128, 255], [255, 3]], np.uint8)
    with_alpha = picture()
    with_alpha.putalpha(Image.fromarray(alpha))
    exif = Image.Exif()
    exif[0x0112] = 6
    with_alpha.save(path, exif=exif)
    colours, found = read_colours_and_alpha(path)
    np.testing.assert_array_equal(colours, np.rot90(COLOURS, -1))
    np.testing.assert_array_equal(found, np.rot90(alpha, -1))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK"])
def test_what_is_opaque_has_no_transparency(tmp_path, mode):
    path = tmp_path / "picture.png"
    picture().convert(mode).save(path, "JPEG" if mode == "CMYK" else "PNG")
    assert read_colours_and_alpha(path)[1] is None


def test_16_bit_colours_close_to_the_transparent_one_stay(tmp_path):
    """Pillow compares the upper bits of the pixels with all bits of the transparent colour."""
    path = tmp_path / "picture.png"
    values = np.full((2, 2, 3), [0x1234, 0x5678, 0x9ABC], np.uint16)
    values[0, 1, 2] += 1
    values[1, 0] = [0x0034, 0x0078, 0x00BC]
    values[1, 1] = 65535
    path.write_bytes(png_file(values, colour_type=2, transparent=values[0, 0].astype(">u2").tobytes()))
    colours, alpha = read_colours_and_alpha(path)
    assert alpha.tolist() == [[0, 255], [255, 255]]
    assert colours[0, 1].tolist() == [0x12, 0x56, 0x9A]
    assert read_image(path).tolist() == [[[255] * 3, [0x12, 0x56, 0x9A]], [[0, 0, 0], [255] * 3]]


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 8])
def test_webp_headers_are_read_without_decoding(tmp_path, monkeypatch, lossless, mode, orientation):
    path = tmp_path / "picture.webp"
    image = Image.fromarray(quartered()).convert(mode)
    if mode == "RGBA":
        image.putpixel((3, 3), (1, 2, 3, 4))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(path, lossless=lossless, exif=exif.tobytes() if orientation else b"")
    monkeypatch.setattr(Image, "open", lambda _: pytest.fail("Pillow was asked"))
    size = (HEIGHT, WIDTH) if orientation == 8 else (WIDTH, HEIGHT)
    assert read_image_header(path) == ImageHeader(size, transparent=mode == "RGBA", several=False)


def test_orientation_of_a_webp_in_xmp(tmp_path):
    path = tmp_path / "picture.webp"
    picture().save(path, lossless=True, xmp=XMP.encode())
    assert read_image_header(path).size == (3, 2)
    np.testing.assert_array_equal(read_image(path), np.rot90(COLOURS, -1))


def test_tiff_headers_are_read_without_decoding(tmp_path, monkeypatch):
    path = tmp_path / "picture.tiff"
    picture().save(path, compression="tiff_lzw")
    monkeypatch.setattr("PIL.TiffImagePlugin.TiffImageFile.load", lambda _: pytest.fail("pixels were decoded"))
    assert read_image_header(path).size == (2, 3)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", *AVIF])
def test_damage_anywhere_is_told_in_plain_words(tmp_path, image_format):
    """Nothing but UnreadableImageError may come out of any reader."""
    path = tmp_path / "picture.png"
    content = encoded(image_format)
    generator = np.random.default_rng(7)
    refused = 0
    for _ in range(60):
        damaged = bytearray(content)
        for place in generator.integers(0, min(len(damaged), 400), 4):
            damaged[place] = generator.integers(0, 256)
        path.write_bytes(damaged)
        for read in (read_image_header, read_image, read_colours_and_alpha):
            try:
                read(path)
            except UnreadableImageError as error:
                refused += 1
                assert str(error)
    assert refused
