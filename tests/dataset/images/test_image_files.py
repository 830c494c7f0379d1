"""Finding image files, and telling what those are that are none."""

import os

import pytest
from PIL import Image

from library.dataset.images.image_decoding import read_image
from library.dataset.images.image_files import (
    IMAGE_EXTENSIONS,
    MISSING_PLUG_INS,
    UnreadableImageError,
    find_images,
    find_pictures,
)
from library.dataset.images.image_headers import read_image_header
from library.dataset.images.image_index import ImageIndex


def names_of(paths, folder) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def test_finding_images(tmp_path):
    names = ("b.PNG", "a.jpeg", "c.Webp", "._a.jpeg", ".hidden.png", "notes.txt", "d.Gif", "e.bmp", "f.jfif", "g.TIF")
    for name in names:
        (tmp_path / name).write_bytes(b"")
    for folder in ("inner", "folder.png"):
        (tmp_path / folder).mkdir()
    (tmp_path / "inner" / "f.png").write_bytes(b"")
    found = ["a.jpeg", "b.PNG", "c.Webp", "d.Gif", "e.bmp", "f.jfif", "g.TIF"]
    assert names_of(find_images(tmp_path), tmp_path) == found


def test_searching_the_folders_inside(tmp_path):
    for name in ("a.png", "inner ä/deep/b.png", "inner ä/c.txt", ".cache/d.png", "z.png/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "inner ä" / "round in circles").symlink_to(tmp_path, target_is_directory=True)
    assert names_of(find_images(tmp_path), tmp_path) == ["a.png"]
    assert names_of(find_images(tmp_path, recursive=True), tmp_path) == ["a.png", "inner ä/deep/b.png", "z.png/e.png"]


def test_linked_folders_are_searched(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(b"")
    images = tmp_path / "images"
    images.mkdir()
    (images / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert names_of(find_images(images, recursive=True), images) == ["link/a.png"]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        find_images(tmp_path / "nowhere")


@pytest.mark.parametrize("extension", [".avif", ".jxl", ".heic", ".heif"])
def test_every_extension_is_either_read_or_reported(tmp_path, extension):
    (tmp_path / f"a{extension.upper()}").write_bytes(b"")
    assert len(find_images(tmp_path)) + len(find_pictures(tmp_path).unsupported) == 1
    assert (extension in IMAGE_EXTENSIONS) != (extension in MISSING_PLUG_INS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (bytes(3000), "the file begins with zeros only, as after a crash while it was written"),
        (b"not a picture", "it is not an image, or of a kind that cannot be read"),
        (b"\xef\xbb\xbf\n<!DOCTYPE HTML><html>", "it is a web page, not an image"),
        (b"<?xml version='1.0'?>\n<svg>", "it is a vector drawing (SVG), not an image"),
        (b"PK\3\4rest", "it is an archive, not an image"),
        (b"RIFF\1\2\3\4AVI LIST", "it is a film, not an image"),
        (b"\0\0\0\x20ftypisom", "it is a film, not an image"),
        (b"\0\0\0\x20ftypheic", "it is a HEIC picture; save it as PNG, or install pillow-heif and name it .heic"),
        (b"\xff\x0a\1", "it is a JPEG XL picture; save it as PNG, or install pillow-jxl-plugin and name it .jxl"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "it is a Git LFS pointer; fetch the file itself with 'git lfs pull'",
        ),
    ],
)
def test_what_a_file_is_instead_of_an_image(tmp_path, content, reason):
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError) as caught:
        read_image_header(path)
    assert str(caught.value) == reason


def test_files_that_cannot_be_opened(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    for name, reason in (("gone.png", "No such file or directory"), ("link.png", "a link to a file that does not")):
        with pytest.raises(UnreadableImageError, match=reason):
            read_image_header(tmp_path / name)
    with pytest.raises(UnreadableImageError, match="directory"):
        read_image_header(tmp_path)


def test_large_pictures_are_read_without_a_warning(tmp_path, recwarn, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for side, fits in ((40, True), (50, False)):
        path = tmp_path / "picture.png"
        Image.new("RGB", (side, side)).save(path)
        if fits:
            assert read_image_header(path).size == (side, side)
        else:
            with pytest.raises(UnreadableImageError, match="more than 2,000 pixels, or is damaged; make it smaller"):
                read_image_header(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes among files")
def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to("a.png")
    (tmp_path / "broken.png").symlink_to("nowhere.png")
    for name, reason in (
        ("a.png", "it is no regular file"),
        ("link.png", "it is no regular file"),
        ("broken.png", "it is a link to a file that does not exist"),
    ):
        for read in (ImageIndex().header, ImageIndex().content, read_image):
            with pytest.raises(UnreadableImageError, match=reason):
                read(tmp_path / name)
