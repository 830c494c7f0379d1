"""Images that a metadata file lists."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from library.dataset.findings import Findings
from library.dataset.scanning.metadata_files import assemble_caption, read_metadata
from library.dataset.scanning.scan import scan_dataset
from library.metadata.dataset_metadata import describe_dataset, subset_folders, tag_frequency
from library.options.dataset_settings import DatasetSettings, SubsetSettings


def make_images(folder: Path, *names: str, size=(64, 64)) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(folder / name)
    return folder


def write(path: Path, content) -> Path:
    """JSON from an object, JSONL from a list; text as it is."""
    if isinstance(content, list):
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in content)
    elif isinstance(content, dict):
        content = json.dumps(content, ensure_ascii=False)
    path.write_text(content, encoding="utf-8")
    return path


def read(file: Path, folder: Path | None = None, **values):
    findings = Findings()
    subset = SubsetSettings(metadata_file=file, image_dir=folder or file.parent, **values)
    return read_metadata(subset, findings), findings


def problems_of(folder: Path, content, name: str = "meta.json", **values) -> list[str]:
    file = write(folder / name, content)
    _, findings = read(file, **values)
    prefix = f"metadata file '{file}': "
    assert all(problem.startswith(prefix) for problem in findings.problems)
    return [problem.removeprefix(prefix) for problem in findings.problems]


# Which images


def test_names_in_the_folder(tmp_path):
    folder = make_images(tmp_path / "Bilder ü", "b.png", "a.png", "sub/c.png")
    file = write(tmp_path / "méta.json", {"b.png": {"caption": "x"}, "a.png": {}, "sub/c.png": {"tags": "y, z"}})
    images, findings = read(file, folder)
    assert [(image.path, image.name, image.caption) for image in images] == [
        (folder / "b.png", "b.png", "x"),
        (folder / "a.png", "a.png", None),
        (folder / "sub" / "c.png", "sub/c.png", "y, z"),
    ]
    assert findings == Findings()


def test_lines(tmp_path):
    make_images(tmp_path, "a.png", "b.png")
    lines = [
        {"image_path": "a.png", "caption": "ein Hügel"},
        {"image_path": "b.png", "tags": "t", "image_size": [1, 2]},
    ]
    file = write(tmp_path / "meta.JSONL", lines)
    file.write_text("\ufeff" + file.read_text("utf-8").replace("\n", "\n\n"), "utf-8")
    images, findings = read(file)
    assert [(image.name, image.caption) for image in images] == [("a.png", "ein Hügel"), ("b.png", "t")]
    assert findings == Findings()


def test_absolute_names_inside_and_outside_of_the_folder(tmp_path):
    folder, other = make_images(tmp_path / "in", "a.png"), make_images(tmp_path / "out", "b.png")
    keys = [str(folder / "a.png"), str(other / "b.png")]
    images, _ = read(write(tmp_path / "m.json", {key: {} for key in keys}), folder)
    assert [(str(image.path), image.name) for image in images] == [(keys[0], "a.png"), (keys[1], keys[1])]


def test_names_without_extension(tmp_path):
    folder = make_images(tmp_path / "set", "a.PNG", "v1.5 cat.jpg", "sub/b.webp")
    images, findings = read(write(tmp_path / "m.json", {"a": {}, "v1.5 cat": {}, "sub/b": {}}), folder)
    assert [image.name for image in images] == ["a.PNG", "v1.5 cat.jpg", "sub/b.webp"]
    assert findings == Findings()


def test_names_without_extension_and_without_folder_are_found_if_sub_folders_are_searched(tmp_path):
    folder = make_images(tmp_path / "set", "one/a.png", "two/b.png", ".cache/c.png")
    file = write(tmp_path / "m.json", {"a": {}, "b": {}, "c": {}})
    images, _ = read(file, folder, recursive=True)
    assert [image.name for image in images] == ["one/a.png", "two/b.png", "c"]
    images, _ = read(file, folder)
    assert [image.name for image in images] == ["a", "b", "c"]


def test_a_name_that_may_be_several_images(tmp_path):
    make_images(tmp_path, "a.png", "a.jpg")
    (problem,) = problems_of(tmp_path, {"a": {}})
    assert problem == f"'a' may be any of '{tmp_path / 'a.jpg'}' and '{tmp_path / 'a.png'}'; write the extension, too"


def test_an_image_that_is_listed_twice(tmp_path):
    make_images(tmp_path, "a.png")
    assert problems_of(tmp_path, {"a.png": {}, "a": {}}) == ["'a' is the same image as 'a.png'; keep one of them"]
    (problem,) = problems_of(tmp_path, {"a.png": {}, f"../{tmp_path.name}/./a.png": {}})
    assert problem.endswith("/./a.png' is the same image as 'a.png'; keep one of them")
    lines = [{"image_path": "a.png"}, {"image_path": "a.png"}]
    assert problems_of(tmp_path, lines, "m.jsonl") == [
        "line 2, 'a.png' is the same image as line 1, 'a.png'; keep one of them"
    ]
    (problem,) = problems_of(tmp_path, '{"a.png": {}, "a.png": {"caption": "x"}}')
    assert problem == "it is not valid JSON: the key 'a.png' stands twice in the same object"


# What is wrong


def test_all_that_is_malformed_is_reported_at_once(tmp_path):
    make_images(tmp_path, *(f"{name}.png" for name in "abcde"))
    content = {
        "a.png": "text",
        "b.png": {"caption": 5},
        "c.png": {"tags": ["x"]},
        "d.png": None,
        "e.png": {"tags": None},
    }
    assert problems_of(tmp_path, content) == [
        "'a.png' must have an object such as {\"caption\": \"...\"}, not 'text'",
        '\'d.png\' must have an object such as {"caption": "..."}, not None',
        "'b.png' has caption 5, which must be text",
        "'c.png' has tags ['x'], which must be text",
    ]
    lines = '{"image_path": "a.png"}\n{"image_path": 1}\n[]\n{"image_path": \n{"caption": "x"}\n{"image_path": ""}\n'
    wanted = 'must be an object with an image_path, such as {"image_path": "a.png"}'
    problems = problems_of(tmp_path, lines, "m.jsonl")
    assert [problem for problem in problems if wanted in problem] == [
        f"line {number} {wanted}" for number in (2, 3, 5, 6)
    ]
    assert len(problems) == 5
    assert any(problem.startswith("line 4 is not valid JSON: ") for problem in problems)


@pytest.mark.parametrize(
    ("content", "name", "problem"),
    [
        ("", "m.json", "it is not valid JSON: "),
        ("[]", "m.json", "it must hold one object whose keys are images"),
        ("{}", "m.json", "it lists no image"),
        ("\n \n", "m.jsonl", "it lists no image"),
    ],
)
def test_files_without_images(tmp_path, content, name, problem):
    (found,) = problems_of(tmp_path, content, name)
    assert found.startswith(problem)


def test_when_no_image_is_there_the_folder_may_be_wrong(tmp_path):
    problem = f"not found in '{tmp_path}': 2 of 2 images: a.png, b; name the folder that the names start from"
    (found,) = problems_of(tmp_path, {"a.png": {}, "b": {}})
    assert found.startswith(problem)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "m.json").write_bytes('{"ü": {}}'.encode("cp1252"))
    _, findings = read(tmp_path / "m.json")
    assert findings.problems == [f"metadata file '{tmp_path / 'm.json'}': it is not UTF-8 text; save it again as UTF-8"]
    _, findings = read(tmp_path / "gone.json")
    assert findings.problems == [f"metadata file '{tmp_path / 'gone.json'}': No such file or directory"]


# Captions


@pytest.mark.parametrize(
    ("caption", "tags", "separator", "plain", "with_wildcards"),
    [
        ("a cat", "x, y", ",", "a cat,x, y", "a cat,x, y"),
        ("a cat", "x; y", "; ", "a cat; x; y", "a cat; x; y"),
        ("a cat", "", ",", "a cat", "a cat"),
        ("", "x, y", ",", "x, y", "x, y"),
        ("", "", ",", "", ""),
        ("one\n\n two", "x\ny", ",", "one\n\n two,x\ny", "one,x,y\n two,x,y"),
        ("one\n\ntwo\n", "", ",", "one\n\ntwo\n", "one\ntwo"),
        (" \n", "x", ",", " \n,x", "x"),
    ],
)
def test_caption_and_tags(caption, tags, separator, plain, with_wildcards):
    """With wildcards the reference loses the tags of an image without a caption."""
    rules = {"caption_separator": separator}
    assert assemble_caption(caption, tags, SubsetSettings(**rules)) == plain
    assert assemble_caption(caption, tags, SubsetSettings(enable_wildcard=True, **rules)) == with_wildcards


# As a dataset


def scan(subset: SubsetSettings, **settings):
    findings = Findings()
    return scan_dataset(0, DatasetSettings(resolution=(64, 64), subsets=(subset,), **settings), findings), findings


def test_sizes_come_from_the_images(tmp_path):
    """In the reference a size that is not true any more squashes the image."""
    make_images(tmp_path, "a.png", size=(128, 64))
    file = write(tmp_path / "m.json", {"a.png": {"caption": "x", "image_size": [64, 128]}})
    dataset, _ = scan(SubsetSettings(metadata_file=file, image_dir=tmp_path, num_repeats=3))
    (record,) = dataset.records
    assert (record.image_id, record.size, record.placement.resized) == ("0/0/a.png", (128, 64), (128, 64))
    assert (record.repeats, record.is_reg, record.has_caption) == (3, False, True)


def test_missing_images_are_told_together(tmp_path):
    make_images(tmp_path, "a.png")
    file = write(tmp_path / "m.json", {"a.png": {"caption": "x"}, "gone.png": {}, "gone too": {}})
    dataset, findings = scan(SubsetSettings(metadata_file=file, image_dir=tmp_path))
    assert [record.name for record in dataset.records] == ["a.png"]
    assert [one.path.name for one in findings.skipped] == ["gone.png", "gone too"]
    (warning,) = findings.warnings
    assert f"left out: 2 of 3 images in '{file}':" in warning
    assert "gone.png, gone too" in warning


def test_run_metadata_name_the_file(tmp_path):
    make_images(tmp_path / "set", "a.png")
    file = write(tmp_path / "captions.json", {"a": {"caption": "A cat", "tags": "x"}})
    dataset, _ = scan(SubsetSettings(metadata_file=file, image_dir=tmp_path / "set", num_repeats=2))
    assert tag_frequency([dataset]) == {"captions.json": {"a cat": 1, "x": 1}}
    assert subset_folders([dataset], is_reg=False) == {"captions.json": {"n_repeats": 2, "img_count": 1}}
    described = describe_dataset(dataset)
    assert described["is_dreambooth"] is False
    (subset,) = described["subsets"]
    assert (subset["metadata_file"], subset["image_dir"]) == ("captions.json", "set")
    assert not {"class_tokens", "is_reg"} & subset.keys()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes among files")
def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "meta.json")
    images, findings = read(tmp_path / "meta.json")
    assert images == []
    assert any(problem.endswith("it is no regular file") for problem in findings.problems)
