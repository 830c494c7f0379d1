"""Numbers about subsets, buckets and exposures, against the batches that are really made."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from library.dataset.batch_plan import batches_of_epoch, count_batches
from library.options.dataset_settings import SubsetSettings
from library.training.batch_schedule import BatchSchedule
from library.training.planning.image_figures import Spread, dataset_figures, exposures_of_run
from library.training.planning.report_text import describe_special_images
from library.training.step_counts import count_steps
from tests.training.planning.planned_data import dataset_of, record


def test_buckets_are_those_of_the_batches():
    records = [record(f"{number}.png", (64 + 16 * (number % 3), 64), ((64, 64), (128, 64))[number % 2], number)
               for number in range(7)]  # fmt: skip
    dataset = dataset_of(*records, batch_size=4)
    batches = batches_of_epoch([dataset], seed=3, epoch=0)
    figures = dataset_figures(1, dataset)
    assert figures.batches == count_batches([dataset]) == len(batches) == 3 + 3
    for bucket in figures.buckets:
        own = [
            batch for batch in batches if batch.exposures[0].record.placement.bucket == (bucket.width, bucket.height)
        ]
        assert bucket.batches == len(own)
        assert bucket.last_batch == min(len(batch.exposures) for batch in own)
        assert bucket.uses == sum(len(batch.exposures) for batch in own)
    assert [(one.width, one.height, one.images, one.uses) for one in figures.buckets] == [
        (64, 64, 3, 12),
        (128, 64, 3, 9),
    ]


def test_enlarging_and_cropping():
    records = [
        record("fits.png"),
        record("small.png", (32, 32)),
        record("wide.png", (256, 64)),
        record("large.png", (128, 128)),
    ]
    (bucket,) = dataset_figures(1, dataset_of(*records)).buckets
    assert (bucket.enlarged, bucket.most_enlarged) == (1, 2.0)
    assert (bucket.mean_cropped, bucket.most_cropped, bucket.most_cropped_image) == (0.75 / 4, 0.75, "wide.png")


def test_nothing_is_enlarged_or_cropped():
    (bucket,) = dataset_figures(1, dataset_of(record("a.png"))).buckets
    assert (bucket.enlarged, bucket.most_enlarged, bucket.most_cropped) == (0, 1.0, 0.0)


def test_subsets():
    subsets = (
        SubsetSettings(num_repeats=2, class_tokens="sks"),
        SubsetSettings(is_reg=True),
        SubsetSettings(num_repeats=0),
    )
    dataset = dataset_of(
        record("a.png", repeats=2, mask_path="m.png"),
        record("b.png", repeats=2, alpha_mask=True),
        record("c.png", repeats=2, alpha_mask=True, mask_path="m.png"),
        record("r.png", subset=1, is_reg=True),
        record("s.png", subset=1, is_reg=True, repeats=0),
        subsets=subsets,
        held_out=[record("v.png", repeats=2)],
    )
    figures = dataset_figures(1, dataset, {"0/0/a.png": 5, "0/0/b.png": 7, "0/0/c.png": 6, "0/1/r.png": 3})
    train, regularisation, unused = figures.subsets
    assert (train.images, train.repeats, train.uses, train.class_tokens) == (3, 2, 6, "sks")
    assert (train.mask_files, train.alpha_masks, train.held_out) == (2, 1, 1)
    assert train.exposures == Spread(5, 6.0, 7)
    assert (regularisation.images, regularisation.unused, regularisation.uses) == (2, 1, 1)
    assert regularisation.exposures == Spread(3, 3.0, 3)
    assert (unused.images, unused.uses, unused.exposures) == (0, 0, None)
    assert (figures.images(is_reg=False), figures.uses(is_reg=False)) == (3, 6)
    assert (figures.images(is_reg=True), figures.uses(is_reg=True)) == (1, 1)
    assert figures.subsets[0].folder == "."


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("steps", [1, 4, 10, 11, 23])
def test_exposures_are_those_of_the_run(processes, accumulation, steps):
    first = dataset_of(*(record(f"{number}.png", repeats=1 + number % 3) for number in range(5)), batch_size=2)
    second = dataset_of(record("x.png", dataset=1, repeats=4), record("unused.png", dataset=1, repeats=0))
    datasets = (first, second)
    counts = count_steps(count_batches(datasets), processes, accumulation, steps, None)
    schedule = BatchSchedule(datasets, 7, counts, processes)
    brute_force = Counter(
        exposure.record.image_id for batch in schedule.of_run(range(processes)) for exposure in batch.exposures
    )
    assert +exposures_of_run(schedule) == brute_force
    assert sum(brute_force.values()) > 0


def test_masks_and_preserved_images_are_said():
    records = [record(f"{number}.png") for number in range(3)]
    records[0] = replace(records[0], mask_path=Path("mask.png"))
    preserving = SubsetSettings(image_dir="x", custom_attributes={"diff_output_preservation": True})
    dataset = dataset_of(*records, batch_size=1)
    figures = dataset_figures(
        1, replace(dataset, settings=dataset.settings.model_copy(update={"subsets": (preserving,)}))
    )
    preserved = "diff_output_preservation: 3 images, on which the model is to stay as it is"
    assert list(describe_special_images(figures, masks_count=True)) == [
        "masks: 1 of 3 images; the others count everywhere",
        preserved,
    ]
    assert list(describe_special_images(figures, masks_count=False)) == [preserved]
    assert list(describe_special_images(dataset_figures(1, dataset), masks_count=False)) == []
