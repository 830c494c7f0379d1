"""A run with many images without a caption does not start, unless that is wanted."""

from pathlib import Path

import pytest

from library.dataset.captions.missing_captions import check_missing_captions
from library.dataset.findings import Findings
from library.dataset.records import Dataset, ImageRecord
from library.options.dataset_settings import DatasetSettings, SubsetSettings
from tests.dataset.batches.planned_runs import PLACEMENT


def dataset_of(*subsets: tuple[SubsetSettings, int, int], index: int = 0, held_out: int = 0) -> Dataset:
    """subsets: (settings, images, how many of them have no caption); the first `held_out` images are held out."""
    records = [
        ImageRecord(
            index, number, f"{image}.png", subset.image_dir / f"{image}.png", (64, 64), PLACEMENT, "", 1, subset.is_reg,
            has_caption=image >= without,
        )
        for number, (subset, images, without) in enumerate(subsets)
        for image in range(images)
    ]  # fmt: skip
    settings = DatasetSettings(subsets=tuple(subset for subset, _, _ in subsets))
    return Dataset(settings, tuple(records[held_out:]), tuple(records[:held_out]))


def subset(folder: Path, **values) -> SubsetSettings:
    return SubsetSettings(image_dir=folder, **values)


def check(*datasets: Dataset) -> Findings:
    findings = Findings()
    check_missing_captions(datasets, findings)
    return findings


def test_a_tenth_may_be_missing_but_is_named(tmp_path):
    findings = check(dataset_of((subset(tmp_path), 20, 2)))
    assert findings.problems == []
    assert findings.warnings == [
        f"no .caption or .txt file: 2 of 20 images in '{tmp_path}': 0.png, 1.png; trained with an empty caption"
    ]


def test_more_than_a_tenth_is_a_problem_that_names_what_was_looked_for_and_what_is_there(tmp_path):
    for name in ("0.text", "1.text", "2.json", "7.text", "1.png", "1.npz"):
        (tmp_path / name).touch()
    findings = check(dataset_of((subset(tmp_path, caption_extension=".tags"), 20, 3)))
    assert findings.warnings == []
    assert findings.problems == [
        "without a caption: 3 of 20 training images, which is more than a tenth: no .tags file: 3 of 20 images in "
        f"'{tmp_path}': 0.png, 1.png, 2.png (but found: 2 .text files, 1 .json file; --caption_extension .text uses "
        ".text files); write captions, or class_tokens as the caption of such images, or allow empty captions with "
        "--allow_missing_captions"
    ]


def test_all_subsets_of_all_datasets_count_together(tmp_path):
    good, bad = subset(tmp_path / "good"), subset(tmp_path / "bad")
    bad.image_dir.mkdir()
    few = dataset_of((bad, 10, 10))
    assert len(check(few, dataset_of((good, 90, 0), index=1)).warnings) == 1
    (problem,) = check(few, dataset_of((good, 89, 0), index=1)).problems
    assert problem.startswith("without a caption: 10 of 99 training images")
    assert f"no .caption or .txt file: 10 of 10 images in '{bad.image_dir}': 0.png, 1.png, 2.png, 3.png, " in problem
    assert str(good.image_dir) not in problem


def test_a_folder_that_two_datasets_use_is_named_once(tmp_path):
    once, twice = dataset_of((subset(tmp_path), 20, 2)), dataset_of((subset(tmp_path), 20, 2), index=1)
    assert len(check(once, twice).warnings) == 1


def test_images_held_out_for_validation_count(tmp_path):
    (problem,) = check(dataset_of((subset(tmp_path), 10, 2), held_out=2)).problems
    assert problem.startswith("without a caption: 2 of 10 training images")


@pytest.mark.parametrize("values", [{"is_reg": True}, {"allow_missing_captions": True}])
def test_some_images_may_do_without(tmp_path, values):
    exempt = (subset(tmp_path, **values), 50, 50)
    findings = check(dataset_of(exempt, (subset(tmp_path), 10, 1)))
    assert findings.problems == []
    assert [warning.split(": ")[1].split(" images ")[0] for warning in findings.warnings] == ["50 of 50", "1 of 10"]
    (problem,) = check(dataset_of(exempt, (subset(tmp_path), 10, 2))).problems
    assert problem.startswith("without a caption: 2 of 10 training images")


def test_images_of_a_metadata_file(tmp_path):
    (problem,) = check(dataset_of((subset(tmp_path, metadata_file=Path("meta ü.json")), 4, 1))).problems
    assert "neither a caption nor tags: 1 of 4 images in 'meta ü.json': 0.png; write captions" in problem


def test_a_single_image(tmp_path):
    (tmp_path / "0.text").touch()
    (problem,) = check(dataset_of((subset(tmp_path), 1, 1))).problems
    assert "without a caption: 1 of 1 training image, which is" in problem
    assert f"1 of 1 image in '{tmp_path}': 0.png (but found: 1 .text file; --caption_extension .text uses" in problem


def test_nothing_to_say(tmp_path):
    assert check() == Findings()
    assert check(dataset_of((subset(tmp_path), 5, 0))) == Findings()
