"""Where a run keeps what it knows about its images, when it does, and what it does with those that cannot be read."""

import json

import pytest
from PIL import Image

from library.dataset.findings import Findings
from library.dataset.images.image_index import ImageIndex
from library.models.family import SD1
from library.training.dataset_checks import check_datasets
from tests.options.resolving import resolve


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "dätä" / "2_a cat"
    folder.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (64, 64), number).save(folder / f"{number}.png")
    return folder


def check(images, *words):
    resolved = resolve("--train_data_dir", images.parent, "--resolution", "64", "--caption_extension", ".txt", *words)
    findings = Findings()
    return check_datasets(resolved, SD1, findings, lists_images=True).datasets, findings


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ((), None),
        (("--cache_latents",), None),
        (("--cache_info",), ".cache"),
        (("--cache_dir", "{parent}/elsewhere"), "../elsewhere"),
        (("--cache_info", "--cache_dir", "{parent}/elsewhere"), "../elsewhere"),
    ],
)
def test_where_sizes_are_kept(images, words, place):
    check(images, *(word.format(parent=images.parent) for word in words))
    found = list(images.parent.rglob("images.json"))
    assert [path.resolve() for path in found] == ([] if place is None else [(images / place / "images.json").resolve()])


def test_a_subset_may_ask_for_it(images, tmp_path):
    file = tmp_path / "data.toml"
    file.write_text(
        f"[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = '{images}'\ncache_info = true\n",
        encoding="utf-8",
    )
    findings = Findings()
    check_datasets(resolve("--dataset_config", file), SD1, findings, lists_images=True)
    stored = json.loads((images / ".cache" / "images.json").read_text(encoding="utf-8"))
    assert sorted(stored["images"]) == ["../0.png", "../1.png", "../2.png"]


def test_captions_are_read_anew_whatever_is_kept(images):
    (images / "0.txt").write_text("before", encoding="utf-8")
    check(images, "--cache_info")
    (images / "0.txt").write_text("after", encoding="utf-8")
    Image.new("RGB", (96, 64)).save(images / "3.png")
    (images / "1.png").unlink()
    (dataset,), _ = check(images, "--cache_info")
    assert [(record.name, record.size) for record in dataset.records] == [
        ("0.png", (64, 64)),
        ("2.png", (64, 64)),
        ("3.png", (96, 64)),
    ]
    assert dataset.records[0].caption == "after"


def test_sizes_come_from_what_is_kept(images, monkeypatch):
    check(images, "--cache_info")
    monkeypatch.setattr(
        "library.dataset.images.image_index.read_image_header", lambda path: pytest.fail(f"{path} was read")
    )
    (dataset,), findings = check(images, "--cache_info")
    assert len(dataset.records) == 3
    assert not findings.problems


def test_a_folder_that_cannot_be_written_does_not_matter(images, caplog):
    (images / ".cache").write_text("in the way", encoding="utf-8")
    (dataset,), findings = check(images, "--cache_info")
    assert len(dataset.records) == 3
    assert not findings.problems
    assert "cannot be written" in caplog.text
    assert ImageIndex().header(images / "0.png").size == (64, 64)


@pytest.mark.parametrize("policy", ["skip", "stop"])
def test_unreadable_images_are_left_out(images, policy):
    (images / "1.png").write_bytes(b"")
    (dataset,), findings = check(images, "--unreadable_images", policy)
    assert [record.name for record in dataset.records] == ["0.png", "2.png"]
    assert not findings.problems
    assert [(skipped.path.name, skipped.reason) for skipped in findings.skipped] == [("1.png", "the file is empty")]


def test_unreadable_images_may_prevent_the_start(images):
    (images / "1.png").write_bytes(b"")
    (images / "2.png").write_bytes(b"<html>")
    _, findings = check(images, "--unreadable_images", "error")
    assert [problem for problem in findings.problems if "replace or remove it" in problem] == [
        f"image '{images / '1.png'}': the file is empty; replace or remove it",
        f"image '{images / '2.png'}': it is a web page, not an image; replace or remove it",
    ]


def test_without_any_readable_image_there_is_nothing_to_train(images):
    for path in images.iterdir():
        path.write_bytes(b"")
    _, findings = check(images)
    assert any("there are no training images" in problem for problem in findings.problems)
    assert any("left out: 3 of 3 images in" in warning for warning in findings.warnings)
