"""Datasets made of numbers alone."""

from pathlib import Path

from library.dataset.buckets.aspect_buckets import cover
from library.dataset.records import Dataset, ImageRecord
from library.options.dataset_settings import DatasetSettings, SubsetSettings


def record(
    name, size=(64, 64), bucket=(64, 64), repeats=1, dataset=0, subset=0, is_reg=False, **changes
) -> ImageRecord:
    placement = cover(size, bucket)
    return ImageRecord(
        dataset,
        subset,
        name,
        Path("bilder") / name,
        size,
        placement,
        changes.pop("caption", ""),
        repeats,
        is_reg,
        **changes,
    )


def dataset_of(*records, batch_size=1, subsets=None, held_out=()) -> Dataset:
    count = 1 + max(one.subset for one in (*records, *held_out))
    subsets = subsets or tuple(SubsetSettings(image_dir=Path(f"bilder/{number}")) for number in range(count))
    settings = DatasetSettings(resolution=(64, 64), batch_size=batch_size, subsets=subsets)
    return Dataset(settings, tuple(records), tuple(held_out))
