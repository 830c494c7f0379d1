"""Which images form which batch of an epoch: a pure function of the seed and the epoch."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from library.dataset.buckets.aspect_buckets import Size
from library.dataset.records import Dataset, ImageRecord
from library.randomness import python_generator


@dataclass(frozen=True)
class Exposure:
    """One use of one image. Its number counts that image's uses over the whole run, from 0."""

    record: ImageRecord
    number: int


@dataclass(frozen=True)
class PlannedBatch:
    exposures: tuple[Exposure, ...]
    epoch: int
    """Counted from 0."""
    index: int
    """Position among all batches of the run, over all processes, from 0."""
    first_place: int
    """Position of its first exposure among all exposures of the run, over all processes, from 0."""
    step: int = 0
    """Optimizer step that trains on it, counted from 0: known to the schedule of the run."""


def batches_of_epoch(datasets: Sequence[Dataset], seed: int, epoch: int) -> list[PlannedBatch]:
    """All batches of an epoch (counted from 0) in training order.

    Every image appears as often as it has repeats. A batch holds images of one dataset and bucket; the last
    batch of a bucket may be short. Images are shuffled within their bucket, then batches among each other.
    """
    groups: list[tuple[Exposure, ...]] = []
    for number, dataset in enumerate(datasets):
        for bucket, exposures in _by_bucket(dataset, epoch):
            python_generator(seed, "order of images", epoch, number, *bucket).shuffle(exposures)
            size = dataset.settings.batch_size
            groups += [tuple(exposures[start : start + size]) for start in range(0, len(exposures), size)]
    python_generator(seed, "order of batches", epoch).shuffle(groups)
    first, sizes = epoch * len(groups), [len(group) for group in groups]
    places = accumulate(sizes, initial=epoch * sum(sizes))
    return [
        PlannedBatch(group, epoch, first + position, place)
        for position, (group, place) in enumerate(zip(groups, places, strict=False))
    ]


def batches_of_process(batches: Sequence[PlannedBatch], process: int, num_processes: int) -> list[PlannedBatch]:
    """The share of one of several processes; all get equally many, the first batches filling the gap."""
    padding = -len(batches) % num_processes
    padded = list(batches) + [batches[position % len(batches)] for position in range(padding)]
    return padded[process::num_processes]


def count_batches(datasets: Sequence[Dataset]) -> int:
    """Batches in every epoch, over all processes."""
    return sum(
        -(-len(exposures) // dataset.settings.batch_size)
        for dataset in datasets
        for _, exposures in _by_bucket(dataset, epoch=0)
    )


def _by_bucket(dataset: Dataset, epoch: int) -> list[tuple[Size, list[Exposure]]]:
    """Buckets in ascending size, each with its exposures of the epoch in the order of the records."""
    buckets: dict[Size, list[Exposure]] = defaultdict(list)
    for record in dataset.records:
        first = epoch * record.repeats
        exposures = (Exposure(record, first + use) for use in range(record.repeats))
        buckets[record.placement.bucket].extend(exposures)
    return sorted(buckets.items())
