"""steps.json: batches, optimizer steps, epochs, file names, retention."""

from collections import Counter
from pathlib import Path

import pytest

from library.dataset.batch_plan import batches_of_epoch, batches_of_process, count_batches
from library.dataset.buckets.aspect_buckets import Placement
from library.dataset.records import Dataset, ImageRecord
from library.options.dataset_settings import DatasetSettings, SubsetSettings
from library.training import file_names
from library.training.step_counts import count_steps, epochs_between_saves
from tests.golden.tables import numbered, table

STEPS = table("steps")


def make_datasets(description) -> list[Dataset]:
    datasets = []
    for index, entry in enumerate(description):
        records = []
        for width, height, images, repeats in entry["buckets"]:
            placement = Placement((width, height), (width, height), (0, 0))
            for number in range(images):
                name = f"{width}x{height}_{number}.png"
                records.append(
                    ImageRecord(index, 0, name, Path(name), (width, height), placement, "", repeats, is_reg=False)
                )
        settings = DatasetSettings(resolution=(512, 512), batch_size=entry["batch_size"], subsets=(SubsetSettings(),))
        datasets.append(Dataset(settings, tuple(records)))
    return datasets


@pytest.mark.parametrize(("name", "case"), numbered(STEPS["cases"]))
def test_counts(name, case):
    datasets = make_datasets(case["datasets"])
    counts = count_steps(
        count_batches(datasets),
        case["processes"],
        case["accumulation"],
        case.get("max_train_steps_option", 1600),
        case.get("max_train_epochs"),
    )
    assert counts.batches_per_epoch == case["batches_per_epoch"]
    assert counts.batches_per_process == case["batches_per_process"]
    assert counts.steps_per_epoch == case["steps_per_epoch"]
    assert counts.max_train_steps == case["max_train_steps"]
    assert counts.num_epochs == case["epochs"]


@pytest.mark.parametrize(("name", "case"), numbered(STEPS["cases"]))
def test_every_process_gets_its_share(name, case):
    batches = batches_of_epoch(make_datasets(case["datasets"]), seed=1, epoch=0)
    shares = [batches_of_process(batches, process, case["processes"]) for process in range(case["processes"])]
    assert {len(share) for share in shares} == {case["batches_per_process"]}
    assert {batch.index for share in shares for batch in share} == {batch.index for batch in batches}


@pytest.mark.parametrize(("name", "case"), numbered(STEPS["epoch_batches"]))
def test_batch_sizes_of_an_epoch(name, case):
    batches = batches_of_epoch(make_datasets(case["datasets"]), seed=1, epoch=3)
    found = Counter((*batch.exposures[0].record.placement.bucket, len(batch.exposures)) for batch in batches)
    assert sorted([*key, count] for key, count in found.items()) == sorted(case["batches"])


@pytest.mark.parametrize(("name", "case"), numbered(STEPS["every_n_epochs_from_ratio"]))
def test_save_ratio(name, case):
    assert epochs_between_saves(case["epochs"], case["ratio"]) == case["save_every_n_epochs"]


@pytest.mark.parametrize(("name", "case"), numbered(STEPS["names"]))
def test_file_names(name, case):
    output_name, extension = case["output_name"], case["extension"]
    for key, expected in case.items():
        kind, _, number = key.partition("_")
        if kind == "final":
            assert file_names.final_file(output_name, extension) == expected
        elif kind == "epoch":
            assert file_names.epoch_file(output_name, int(number), extension) == expected
        elif kind == "step":
            assert file_names.step_file(output_name, int(number), extension) == expected


@pytest.mark.parametrize(("name", "case"), numbered(STEPS["retention"]))
def test_retention(name, case):
    for saved, removed in case["saved_removed"]:
        if case["by"] == "epoch":
            assert file_names.epoch_to_remove(saved, case["every"], case["keep_epochs_count"]) == removed
        else:
            assert file_names.step_to_remove(saved, case["every"], case["keep_steps_span"]) == removed


def test_the_table_is_complete():
    assert len(STEPS["cases"]) >= 10
    assert len(STEPS["retention"]) >= 2
