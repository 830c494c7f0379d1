"""The batches of a whole run are known before it begins."""

from dataclasses import replace

import pytest

from library.dataset.batch_plan import batches_of_epoch, count_batches
from library.training.batch_schedule import BatchSchedule
from library.training.step_counts import count_steps
from tests.dataset.batches.planned_runs import dataset_of

SEED = 3


def schedule_of(images: int, batch_size: int, accumulation: int, steps: int, num_processes: int = 1) -> BatchSchedule:
    datasets = (dataset_of(["x"] * images, batch_size=batch_size),)
    counts = count_steps(count_batches(datasets), num_processes, accumulation, steps, None)
    return BatchSchedule(datasets, SEED, counts, num_processes)


def indices(batches) -> list[int]:
    return [batch.index for batch in batches]


@pytest.mark.parametrize(
    ("accumulation", "steps", "expected"),
    [
        (1, 5, [[0, 1, 2, 3, 4]]),
        (1, 7, [[0, 1, 2, 3, 4], [5, 6]]),
        (2, 3, [[0, 1, 2, 3, 4]]),  # what is left of an accumulation window makes a step
        (2, 4, [[0, 1, 2, 3, 4], [5, 6]]),
        (2, 6, [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]),
        (9, 2, [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]),
    ],
)
def test_the_last_epoch_may_end_early(accumulation, steps, expected):
    schedule = schedule_of(images=10, batch_size=2, accumulation=accumulation, steps=steps)
    assert schedule.counts.num_epochs == len(expected)
    assert [indices(schedule.of_epoch(epoch, process=0)) for epoch in range(len(expected))] == expected
    assert indices(schedule.of_run([0])) == [index for epoch in expected for index in epoch]


def test_an_epoch_has_the_batches_that_its_seed_plans():
    schedule = schedule_of(images=10, batch_size=2, accumulation=1, steps=20)
    planned = batches_of_epoch(schedule.datasets, SEED, epoch=2)
    assert schedule.of_epoch(2, process=0) == [replace(batch, step=10 + n) for n, batch in enumerate(planned)]


@pytest.mark.parametrize(
    ("accumulation", "expected"),
    [(1, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), (2, [0, 0, 1, 1, 2, 3, 3, 4, 4, 5]), (9, [0] * 5 + [1] * 5)],
)
def test_batches_know_the_step_that_trains_on_them(accumulation, expected):
    schedule = schedule_of(images=10, batch_size=2, accumulation=accumulation, steps=expected[-1] + 1)
    assert [batch.step for batch in schedule.of_run([0])] == expected


def test_the_steps_are_the_same_for_two_processes_as_for_an_accumulation_of_two():
    alone = schedule_of(images=12, batch_size=2, accumulation=2, steps=6)
    shared = schedule_of(images=12, batch_size=2, accumulation=1, steps=6, num_processes=2)
    steps = {batch.index: batch.step for batch in alone.of_run([0])}
    assert len(steps) == 12
    assert {batch.index: batch.step for batch in shared.of_run([0, 1])} == steps
    assert alone.captions == shared.captions


@pytest.mark.parametrize("num_processes", [2, 3])
def test_processes_share_an_epoch(num_processes):
    schedule = schedule_of(images=10, batch_size=2, accumulation=1, steps=3, num_processes=num_processes)
    shares = [indices(schedule.of_epoch(0, process)) for process in range(num_processes)]
    assert len({len(share) for share in shares}) == 1
    assert set().union(*shares) == set(range(5))
    run = indices(schedule.of_run(range(num_processes)))
    shares += [indices(schedule.of_epoch(1, process)) for process in range(num_processes)]
    assert sorted(run) == sorted(index for share in shares for index in share)
