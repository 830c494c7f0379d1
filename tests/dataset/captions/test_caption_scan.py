"""Captions beside images: which files they are in, how those are read, and what is said about odd ones."""

import os
from pathlib import Path

import pytest

from library.dataset.captions.caption_files import CaptionFile, read_caption_files
from library.dataset.captions.caption_scan import read_captions
from library.dataset.findings import Findings
from library.options.dataset_settings import SubsetSettings


def read(folder: Path, files: dict[str, str | bytes], images: str = "a.png b.png c.png", **values):
    """The captions of these images, which need not exist."""
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    findings = Findings()
    subset = SubsetSettings(image_dir=folder, **values)
    return read_captions([folder / name for name in images.split()], subset, findings), findings


# Which file


def test_both_kinds_are_found_when_none_is_named(tmp_path):
    captions, findings = read(tmp_path, {"a.txt": "of txt", "b.caption": "of caption", "d.txt": "unused"})
    assert captions == ["of txt", "of caption", None]
    assert findings == Findings()


@pytest.mark.parametrize(("extension", "expected"), [(".txt", ["x", None]), (".caption", [None, "y"])])
def test_only_the_kind_that_is_named_is_used(tmp_path, extension, expected):
    captions, _ = read(tmp_path, {"a.txt": "x", "b.caption": "y"}, "a.png b.png", caption_extension=extension)
    assert captions == expected


def test_caption_beats_txt_and_says_so(tmp_path):
    files = {"a.txt": "x", "a.caption": "y", "b.caption": "z"}
    captions, findings = read(tmp_path, files, "a.png b.png")
    assert captions == ["y", "z"]
    assert findings.warnings == [
        f"used instead of a .txt file of the same name: 1 of 2 caption files in '{tmp_path}': a.caption; name the one "
        "kind to use with --caption_extension"
    ]


def test_images_that_differ_in_their_extension_share_a_file(tmp_path):
    captions, findings = read(tmp_path, {"a.txt": "x\nmore"}, "a.jpg a.png")
    assert captions == ["x", "x"]
    assert findings.warnings == [
        f"more than one line, of which only the first is used: 1 of 1 caption file in '{tmp_path}': a.txt"
    ]


def test_faces_cut_from_one_picture_share_its_caption(tmp_path):
    files = {"a_b.txt": "both", "a_b_9_9_9_9.txt": "own"}
    captions, _ = read(tmp_path, files, "a_b_1_2_3_4.png a_b_9_9_9_9.png a_b_1_2_3.png")
    assert captions == ["both", "own", None]


# What stands in


def test_class_words_stand_in_and_the_files_that_are_there_are_named(tmp_path):
    files = {"a.txt": "x", "b.text": "y", "b.npz": "z", "b.json": "{}", "c.text": "z"}
    captions, findings = read(tmp_path, files, "a.png b.png c.png d.png", class_tokens="sks dog")
    assert captions == ["x", "sks dog", "sks dog", "sks dog"]
    assert findings.warnings == [
        f"no .caption or .txt file: 3 of 4 images in '{tmp_path}': b.png, c.png, d.png (but found: 2 .text files, 1 "
        ".json file; --caption_extension .text uses .text files); 'sks dog' is used instead"
    ]


def test_an_empty_class_is_no_caption(tmp_path):
    assert read(tmp_path, {}, "a.png", class_tokens="") == ([None], Findings())


# How files are read


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1251"])
def test_other_encodings_are_read_and_named(tmp_path, encoding):
    text = "девушка, зелёная шляпа, улыбка"
    captions, findings = read(tmp_path, {"a.txt": text.encode(encoding), "b.txt": "plain"}, "a.png b.png")
    assert captions == [text, "plain"]
    if encoding == "utf-8-sig":
        assert findings == Findings()
    else:
        advice = "; tools/lint_dataset.py --fix saves as UTF-8"
        if encoding == "cp1251":
            advice = (
                f" (a guess, by which one reads: {text}); if that is right, tools/lint_dataset.py --fix --encoding "
                "cp1251 saves as UTF-8; if not, name the right encoding there"
            )
        assert findings.warnings == [
            f"not UTF-8, and read as {encoding}: 1 of 2 caption files in '{tmp_path}': a.txt{advice}"
        ]


@pytest.mark.parametrize(
    ("text", "sample"),
    [
        ("sks chien, forêt", "sks chien, forêt"),
        ("a" * 30 + "é" + "b" * 30, "a" * 30 + "é" + "b" * 9 + "..."),
        ("a" * 60 + "é" + "b" * 60, "..." + "a" * 20 + "é" + "b" * 19 + "..."),
        ("a" * 60 + "é", "..." + "a" * 20 + "é"),
        ("\n été \n hiver", "été hiver"),
        ("5 € " + "a" * 60, ("5 € " + "a" * 60)[:40] + "..."),
    ],
)
def test_a_sample_shows_a_letter_by_which_to_judge(tmp_path, text, sample):
    (tmp_path / "a.txt").write_bytes(text.encode("cp1252"))
    (caption,) = read_caption_files([tmp_path / "a.txt"])
    assert isinstance(caption, CaptionFile)
    assert caption.sample == sample


def test_the_sample_is_of_a_file_that_shows_something(tmp_path):
    files = {"a.txt": "five \x80", "b.txt": "for\xeat"}
    _, findings = read(tmp_path, {name: text.encode("latin-1") for name, text in files.items()}, "a.png b.png")
    assert "one reads: forêt)" in findings.warnings[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes among files")
def test_a_pipe_is_no_caption(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    assert read(tmp_path, {}, "a.png") == ([None], Findings())


def test_a_file_that_is_no_text_is_a_problem(tmp_path):
    captions, findings = read(tmp_path, {"a.txt": b"\x89PNG\r\n\x1a\n\x00\x00\x00\r", "b.txt": "x"}, "a.png b.png")
    assert captions == ["", "x"]
    assert findings.problems == [f"caption file '{tmp_path / 'a.txt'}': it is not text; replace or remove it"]


def test_a_file_that_may_not_be_read_is_a_problem(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    (tmp_path / "a.txt").write_text("x")
    _, findings = read(tmp_path, {}, "a.png")
    assert findings.problems == [f"caption file '{tmp_path / 'a.txt'}': Permission denied; replace or remove it"]


def test_lines_end_where_text_files_end_them(tmp_path):
    texts = {
        "a": "one\u2028two\u0085three\x0cfour, five",
        "b": "windows\r\nmore",
        "c": "old mac\rmore",
        "d": "unix\n\n \n",
        "e": "\nbelow a blank line",
        "f": "",
        "g": "\ufeff a caption \n",
    }
    files = {f"{name}.txt": text for name, text in texts.items()}
    captions, findings = read(tmp_path, files, " ".join(f"{name}.png" for name in texts))
    assert captions == [texts["a"], "windows", "old mac", "unix", "", "", "a caption"]
    assert findings.warnings == [
        f"an empty first line, and so an empty caption: 2 of 7 caption files in '{tmp_path}': e.txt, f.txt",
        f"more than one line, of which only the first is used: 3 of 7 caption files in '{tmp_path}': b.txt, c.txt, "
        "e.txt",
    ]


def test_all_lines_are_kept_where_one_is_chosen_each_time(tmp_path):
    files = {"a.txt": "\n one \r\n\r\ntwo\n", "b.txt": "\n\n"}
    captions, findings = read(tmp_path, files, "a.png b.png", enable_wildcard=True)
    assert captions == ["one\ntwo", ""]
    (warning,) = findings.warnings
    assert warning.startswith(f"an empty first line, and so an empty caption: 1 of 2 caption files in '{tmp_path}'")
