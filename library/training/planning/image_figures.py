"""Numbers about the images of a run: by subset and by bucket. One definition for the plan and for the run itself."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from library.dataset.buckets.aspect_buckets import Size
from library.dataset.records import Dataset, ImageRecord
from library.training.batch_schedule import BatchSchedule


@dataclass(frozen=True)
class Spread:
    least: int
    mean: float
    most: int


@dataclass(frozen=True)
class SubsetFigures:
    number: int
    """position in its dataset, from 1"""
    folder: str
    is_reg: bool
    class_tokens: str | None
    images: int
    """that can be used"""
    unused: int
    """of these, regularisation images that are not needed"""
    repeats: int
    """what the settings say"""
    uses: int
    """of images in an epoch"""
    mask_files: int
    """images with a picture of their own as mask for the loss"""
    alpha_masks: int
    """images whose transparency, if they have any, is the mask"""
    preserved: int
    """images on which the network is to change nothing (diff_output_preservation)"""
    held_out: int
    """images kept for validation, which are not among the others"""
    exposures: Spread | None
    """uses of an image over the whole run; None = the run's length or its images are unknown"""


@dataclass(frozen=True)
class BucketFigures:
    width: int
    """pixels"""
    height: int
    images: int
    uses: int
    """of images in an epoch"""
    batches: int
    """in an epoch"""
    last_batch: int
    """images in the shortest batch"""
    enlarged: int
    """images that are too small, and are scaled up"""
    most_enlarged: float
    """the largest factor; 1 = none is enlarged"""
    mean_cropped: float
    """share of an image's area that is cut off"""
    most_cropped: float
    most_cropped_image: str
    """file name"""


@dataclass(frozen=True)
class DatasetFigures:
    number: int
    """from 1"""
    resolution: Size | None
    batch_size: int
    subsets: tuple[SubsetFigures, ...]
    buckets: tuple[BucketFigures, ...]
    """in ascending size"""

    @property
    def batches(self) -> int:
        """in an epoch, over all processes"""
        return sum(bucket.batches for bucket in self.buckets)

    def images(self, is_reg: bool) -> int:
        """Images that are used."""
        return sum(subset.images - subset.unused for subset in self.subsets if subset.is_reg == is_reg)

    @property
    def masked(self) -> int:
        """Images with a mask, which counts with --masked_loss."""
        return sum(subset.mask_files + subset.alpha_masks for subset in self.subsets)

    @property
    def preserved(self) -> int:
        """Images on which the network is to change nothing."""
        return sum(subset.preserved for subset in self.subsets)

    def uses(self, is_reg: bool) -> int:
        """Images with their repeats in an epoch."""
        return sum(subset.uses for subset in self.subsets if subset.is_reg == is_reg)


def dataset_figures(number: int, dataset: Dataset, exposures: Mapping[str, int] | None = None) -> DatasetFigures:
    """
    Args:
        number: from 1.
        exposures: image id -> uses over the whole run, if that is known.
    """
    settings = dataset.settings
    return DatasetFigures(
        number=number,
        resolution=settings.resolution,
        batch_size=settings.batch_size,
        subsets=tuple(_subsets(dataset, exposures)),
        buckets=tuple(_buckets(dataset)),
    )


def _subsets(dataset: Dataset, exposures: Mapping[str, int] | None) -> Iterator[SubsetFigures]:
    records, held_out = _by_subset(dataset.records), _by_subset(dataset.held_out)
    for index, subset in enumerate(dataset.settings.subsets):
        own = records[index]
        used = [record for record in own if record.repeats]
        yield SubsetFigures(
            number=index + 1,
            folder=str(subset.image_dir),
            is_reg=subset.is_reg,
            class_tokens=subset.class_tokens,
            images=len(own),
            unused=len(own) - len(used),
            repeats=subset.num_repeats,
            uses=sum(record.repeats for record in own),
            mask_files=sum(record.mask_path is not None for record in used),
            alpha_masks=sum(record.alpha_mask and record.mask_path is None for record in used),
            preserved=len(used) if subset.preserves_output else 0,
            held_out=len(held_out[index]),
            exposures=_spread(used, exposures),
        )


def _by_subset(records: Sequence[ImageRecord]) -> defaultdict[int, list[ImageRecord]]:
    grouped: defaultdict[int, list[ImageRecord]] = defaultdict(list)
    for record in records:
        grouped[record.subset].append(record)
    return grouped


def _spread(records: Sequence[ImageRecord], exposures: Mapping[str, int] | None) -> Spread | None:
    if not records or exposures is None:
        return None
    counts = [exposures.get(record.image_id, 0) for record in records]
    return Spread(min(counts), sum(counts) / len(counts), max(counts))


def _buckets(dataset: Dataset) -> Iterator[BucketFigures]:
    grouped: dict[Size, list[ImageRecord]] = defaultdict(list)
    for record in dataset.records:
        if record.repeats:
            grouped[record.placement.bucket].append(record)
    batch_size = dataset.settings.batch_size
    for (width, height), records in sorted(grouped.items()):
        uses = sum(record.repeats for record in records)
        factors = [record.placement.enlargement(record.size) for record in records]
        worst = max(records, key=lambda record: record.placement.cropped_share)
        yield BucketFigures(
            width=width,
            height=height,
            images=len(records),
            uses=uses,
            batches=-(-uses // batch_size),
            last_batch=uses % batch_size or batch_size,
            enlarged=sum(factor > 1 for factor in factors),
            most_enlarged=max(1.0, *factors),
            mean_cropped=sum(record.placement.cropped_share for record in records) / len(records),
            most_cropped=worst.placement.cropped_share,
            most_cropped_image=worst.name,
        )


def exposures_of_run(schedule: BatchSchedule) -> Counter[str]:
    """Image id -> how often the run uses it.

    A whole epoch uses each image as often as it has repeats, and some once more where the batches do not divide among
    the processes. Which those are, and what an epoch that is cut short leaves out, depends on the seed.
    """
    counts = schedule.counts
    divides = counts.batches_per_epoch % schedule.num_processes == 0
    alike = counts.max_train_steps // counts.steps_per_epoch if divides else 0
    uses = Counter(
        {record.image_id: record.repeats * alike for dataset in schedule.datasets for record in dataset.records}
    )
    for batch in schedule.of_run(range(schedule.num_processes), first_epoch=alike):
        uses.update(exposure.record.image_id for exposure in batch.exposures)
    return uses
