"""What can only be said of all datasets of a run together."""

from collections import Counter

import pytest
from PIL import Image

from library.dataset.findings import Findings
from library.models.family import SD1
from library.training.dataset_checks import check_datasets
from tests.options.resolving import resolve


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "dätä set"
    folder.mkdir()
    for number in range(10):
        Image.new("RGB", (100, 80), number).save(folder / f"img{number}.png")
        (folder / f"img{number}.txt").write_text(f"caption of img{number}", encoding="utf-8")
    return folder


def check(folder, *resolutions, keys="", words=()):
    """One dataset for each resolution, all with the same folder."""
    file = folder.parent / "data.toml"
    file.write_text(
        "".join(
            f"[[datasets]]\nresolution = {resolution}\n[[datasets.subsets]]\nimage_dir = '{folder}'\n{keys}\n"
            for resolution in resolutions
        ),
        encoding="utf-8",
    )
    findings = Findings()
    return check_datasets(
        resolve("--dataset_config", file, *words), SD1, findings, lists_images=True
    ).datasets, findings


@pytest.mark.parametrize("policy", ["skip", "error"])
def test_what_is_wrong_with_a_folder_is_told_once_for_all_resolutions(images, policy):
    (images / "img0.png").write_bytes(b"")
    (images / "img1.txt").write_text("", encoding="utf-8")
    (images / "img2.txt").write_bytes("chaîne".encode("cp1252"))
    (images / "img3.txt").unlink()
    datasets, findings = check(images, 64, 128, words=("--unreadable_images", policy))
    assert [len(dataset.records) for dataset in datasets] == [9, 9]
    assert [one.path.name for one in findings.skipped] == ["img0.png"]
    told = Counter(findings.warnings + findings.problems)
    assert set(told.values()) == {1}
    for name in ("img0.png", "img1.txt", "img2.txt", "img3.png"):
        assert sum(name in text for text in told) == 1


def test_placements_are_told_for_each_resolution(images):
    _, findings = check(images, 256, 512)
    enlarged = [text for text in findings.warnings if "enlarged more than 2 times" in text]
    assert ["for the resolution 256x256" in enlarged[0], "for the resolution 512x512" in enlarged[1]] == [True, True]


def test_captions_stay_with_their_images_when_some_are_held_out(images):
    """Also in a second run, which knows the images from the first."""
    for _ in range(2):
        (dataset,), _ = check(images, 64, keys="validation_split = 0.3\ncache_info = true")
        both = (*dataset.records, *dataset.held_out)
        assert (len(dataset.records), len(dataset.held_out)) == (7, 3)
        assert all(record.caption == f"caption of {record.path.stem}" for record in both)
        assert len({record.path for record in both}) == 10


def test_when_all_images_are_held_out_nothing_is_left_to_train(images):
    _, findings = check(images, 64, keys="validation_split = 1.0")
    assert any("held out for validation (validation_split)" in problem for problem in findings.problems)


@pytest.mark.parametrize(("preserved", "is_refused"), [("true", True), ("false", False)])
def test_a_network_that_would_learn_to_change_nothing(images, preserved, is_refused):
    _, findings = check(images, 64, keys=f"custom_attributes = {{ diff_output_preservation = {preserved} }}")
    assert any("the network would learn to change nothing" in problem for problem in findings.problems) is is_refused


def test_a_folder_without_images_is_no_network_that_learns_nothing(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    _, findings = check(folder, 64)
    (problem,) = findings.problems
    assert "holds no images" in problem
