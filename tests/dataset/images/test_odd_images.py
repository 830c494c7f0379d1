"""A folder of odd and broken files: what is found, what is left out and why, and what the rest looks like."""

from pathlib import Path

import numpy as np
import pytest

from library.dataset.findings import Findings
from library.dataset.images.image_decoding import read_colours_and_alpha, read_image
from library.dataset.images.image_files import MISSING_PLUG_INS, UnreadableImageError, find_images, find_pictures
from library.dataset.images.image_index import ImageIndex
from library.dataset.records import ListedImage
from library.dataset.scanning.image_scan import ImageReading, read_image_sizes
from tests.dataset.images.odd_images import make_odd_images, quarters_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("odd") / "odd ä"


@pytest.fixture(scope="module")
def kinds(folder):
    return {kind.name: kind for kind in make_odd_images(folder)}


def names(kinds, *outcomes) -> set[str]:
    return {kind.name for kind in kinds.values() if kind.outcome in outcomes}


def scan(folder, unreadable):
    findings = Findings()
    images = [ListedImage(path, path.name, "") for path in find_images(folder)]
    return read_image_sizes(images, folder, ImageReading(ImageIndex(), unreadable), findings), findings


def test_there_are_many_kinds(kinds):
    assert len(names(kinds, "unreadable", "damaged", "unsupported", "ignored")) >= 20
    assert len(names(kinds, "usable")) >= 30


def test_which_files_are_found(folder, kinds):
    assert {path.name for path in find_images(folder)} == names(kinds, "usable", "unreadable", "damaged")
    if ".heic" in MISSING_PLUG_INS:
        assert {path.name for path in find_pictures(folder).unsupported} == names(kinds, "unsupported")


@pytest.mark.parametrize("unreadable", ["skip", "stop", "error"])
def test_the_scan(folder, kinds, unreadable):
    sizes, findings = scan(folder, unreadable)
    assert {path.name: size for path, size in sizes.items()} == {
        name: kinds[name].size for name in names(kinds, "usable", "damaged")
    }
    assert {skipped.path.name for skipped in findings.skipped} == names(kinds, "unreadable")
    for skipped in findings.skipped:
        assert kinds[skipped.path.name].reason in skipped.reason, skipped
    several = {kind.name for kind in kinds.values() if kind.frames > 1}
    (about_several,) = [text for text in findings.warnings if "several frames" in text]
    assert f"{len(several)} of {len(sizes) + len(findings.skipped)} images" in about_several
    if unreadable == "error":
        assert len(findings.warnings) == 1
        assert len(findings.problems) == len(findings.skipped)
        assert all("replace or remove it" in problem for problem in findings.problems)
    else:
        assert not findings.problems
        (about_skipped,) = [text for text in findings.warnings if text != about_several]
        first, *lines = about_skipped.splitlines()
        assert first.endswith(
            f": {len(findings.skipped)} of {len(sizes) + len(findings.skipped)} images in '{folder}':"
        )
        assert "    6: the file is cut short or damaged: cut short.bmp, cut short.gif" in about_skipped
        assert sum(int(line.split(":")[0]) for line in lines) == len(findings.skipped)


def test_what_they_look_like(folder, kinds):
    for name in sorted(names(kinds, "usable")):
        kind = kinds[name]
        pixels = read_image(folder / name)
        assert pixels.dtype == np.uint8
        assert pixels.shape == (kind.size[1], kind.size[0], 3), name
        assert np.abs(quarters_of(pixels) - np.array(kind.quarters)).max() <= kind.tolerance, name


def test_their_transparency(folder, kinds):
    for name in sorted(names(kinds, "usable")):
        colours, alpha = read_colours_and_alpha(folder / name)
        assert (alpha is not None) == kinds[name].has_transparency, name
        assert ImageIndex().header(folder / name).transparent == kinds[name].has_transparency, name
        if alpha is not None:
            assert (alpha[0, 0], alpha[-1, -1]) == (0, 255), name
            assert alpha.shape == colours.shape[:2]


def test_damage_that_only_decoding_shows(folder, kinds):
    for name in names(kinds, "damaged", "unreadable"):
        with pytest.raises(UnreadableImageError, match=kinds[name].reason):
            read_image(folder / name)


def test_nothing_but_unreadable_images(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").write_bytes(b"")
    sizes, findings = scan(tmp_path, "skip")
    assert sizes == {}
    assert findings.warnings == [
        f"unusable, and so left out: 2 of 2 images in '{tmp_path}':\n    2: the file is empty: a.png, b.png"
    ]


def test_rare_reasons_are_told_together(folder, kinds, tmp_path):
    """A single one has its own line: that there is another would take as much room."""
    contents = [b"", bytes(9), b"x", b"<html>", b"PK\3\4", b"%PDF", b"\0\0\0\x20ftypisom", b"<svg", b"\xff\x0a"]
    contents += [b"\0\0\0\x20ftypheic", b"version https://git-lfs", (folder / "cut short.bmp").read_bytes()]
    for number, content in enumerate(contents):
        (tmp_path / f"{number:02d}.png").write_bytes(content)
    _, findings = scan(tmp_path, "skip")
    assert findings.warnings[0].splitlines()[-1] == "    2: other reasons: 10.png, 11.png"
    (tmp_path / "11.png").unlink()
    _, findings = scan(tmp_path, "skip")
    assert findings.warnings[0].splitlines()[-1].startswith("    1: it is a Git LFS pointer; ")
