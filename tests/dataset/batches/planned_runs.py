"""Datasets without files, and the batches of a run over them."""

from pathlib import Path

from library.dataset.batch_plan import PlannedBatch, batches_of_epoch
from library.dataset.buckets.aspect_buckets import Placement
from library.dataset.records import Dataset, ImageRecord
from library.options.dataset_settings import DatasetSettings, SubsetSettings

SEED = 11
PLACEMENT = Placement(bucket=(64, 64), resized=(64, 64), crop=(0, 0))


def dataset_of(captions: list[str], repeats: int = 1, batch_size: int = 2, **rules) -> Dataset:
    """One image for each caption, all in one subset with these caption rules."""
    records = tuple(
        ImageRecord(0, 0, f"{number}.png", Path(f"{number}.png"), (64, 64), PLACEMENT, caption, repeats, is_reg=False)
        for number, caption in enumerate(captions)
    )
    return Dataset(DatasetSettings(batch_size=batch_size, subsets=(SubsetSettings(**rules),)), records)


def batches_of_run(dataset: Dataset, epochs: int) -> list[PlannedBatch]:
    return [batch for epoch in range(epochs) for batch in batches_of_epoch([dataset], SEED, epoch)]
