"""What the metadata say about the images."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from library.dataset.buckets.placement_rule import effective_bucket_limits
from library.dataset.records import Dataset, ImageRecord
from library.options.dataset_settings import SubsetSettings

Json = dict[str, Any]
T = TypeVar("T")


def num_train_images(datasets: Sequence[Dataset]) -> int:
    """Images with their repeats, without regularisation images."""
    return sum(dataset.num_train_images for dataset in datasets)


def num_reg_images(datasets: Sequence[Dataset]) -> int:
    """Regularisation images with the repeats of their folders, whether or not all are used."""
    return sum(
        dataset.rules_of(record).num_repeats for dataset in datasets for record in dataset.records if record.is_reg
    )


def bucket_info(dataset: Dataset) -> Json | None:
    """Images (with repeats) in each bucket, and how far the pictures' ratios are from their buckets'."""
    if not dataset.settings.enable_bucket:
        return None
    counts: Counter[tuple[int, int]] = Counter()
    for record in dataset.records:
        counts[record.placement.bucket] += record.repeats
    errors = [_ratio_error(record) for record in dataset.records]
    return {
        "buckets": {
            str(number): {"resolution": list(bucket), "count": count}
            for number, (bucket, count) in enumerate(sorted(counts.items()))
        },
        "mean_img_ar_error": sum(errors) / len(errors) if errors else 0.0,
    }


def _ratio_error(record: ImageRecord) -> float:
    bucket, size = record.placement.bucket, record.size
    return abs(bucket[0] / bucket[1] - size[0] / size[1])


def tag_frequency(datasets: Sequence[Dataset]) -> dict[str, dict[str, int]]:
    """Folder or metadata file -> tag -> number of images whose stored caption has it. Tags are lower-cased.

    A source that several datasets use is counted once.
    """
    frequency: dict[str, dict[str, int]] = {}
    for dataset in datasets:
        frequency = _tag_frequency_of(dataset) | frequency
    return frequency


def _tag_frequency_of(dataset: Dataset) -> dict[str, dict[str, int]]:
    counters: dict[str, Counter[str]] = {}
    for record in dataset.records:
        source = _source_name(dataset.rules_of(record))
        tags = (tag.strip().lower() for tag in record.caption.split(","))
        counters.setdefault(source, Counter()).update(tag for tag in tags if tag)
    return {source: dict(tags) for source, tags in counters.items()}


def subset_folders(datasets: Sequence[Dataset], is_reg: bool) -> dict[str, Json]:
    """Name of the folder or metadata file -> repeats and number of images; equal names get ' (2)', ' (3)', ...

    Args:
        is_reg: regularisation folders, or all others.
    """
    folders: dict[str, Json] = {}
    for subset, count in _subsets_with_counts(datasets):
        if count and subset.is_reg == is_reg:
            folders[_unused_name(_source_name(subset), folders)] = {
                "n_repeats": subset.num_repeats,
                "img_count": count,
            }
    return folders


def _unused_name(name: str, taken: dict[str, Json]) -> str:
    number = 2
    candidate = name
    while candidate in taken:
        candidate = f"{name} ({number})"
        number += 1
    return candidate


def describe_dataset(dataset: Dataset) -> Json:
    """One entry of ss_datasets."""
    settings = dataset.settings
    limits = effective_bucket_limits(settings) if settings.enable_bucket else (None, None)
    return {
        "is_dreambooth": all(subset.metadata_file is None for subset in settings.subsets),
        "batch_size_per_device": settings.batch_size,
        "num_train_images": dataset.num_train_images,
        "num_reg_images": num_reg_images([dataset]),
        "resolution": list(settings.resolution) if settings.resolution else None,
        "enable_bucket": settings.enable_bucket,
        "min_bucket_reso": limits[0],
        "max_bucket_reso": limits[1],
        "tag_frequency": tag_frequency([dataset]),
        "bucket_info": bucket_info(dataset),
        "resize_interpolation": _of_all(subset.resize_interpolation for subset in settings.subsets),
        "subsets": [_describe_subset(subset, count) for subset, count in _subsets_with_counts([dataset])],
    }


def _of_all(values: Iterable[T]) -> T | None:
    """The value that all have; None when they differ."""
    different = set(values)
    return different.pop() if len(different) == 1 else None


_SUBSET_FIELDS = (
    "num_repeats", "color_aug", "flip_aug", "random_crop", "shuffle_caption", "keep_tokens", "keep_tokens_separator",
    "secondary_separator", "enable_wildcard", "caption_prefix", "caption_suffix", "resize_interpolation",
)  # fmt: skip


def _describe_subset(subset: SubsetSettings, count: int) -> Json:
    if subset.metadata_file is None:
        kind: Json = {"class_tokens": subset.class_tokens, "is_reg": subset.is_reg}
    else:
        kind = {"metadata_file": subset.metadata_file.name}
    return {
        "img_count": count,
        **{name: getattr(subset, name) for name in _SUBSET_FIELDS},
        "image_dir": subset.image_dir.resolve().name,
        **kind,
    }


def _subsets_with_counts(datasets: Sequence[Dataset]) -> Iterator[tuple[SubsetSettings, int]]:
    for dataset in datasets:
        counts = Counter(record.subset for record in dataset.records)
        for number, subset in enumerate(dataset.settings.subsets):
            yield subset, counts[number]


def _source_name(subset: SubsetSettings) -> str:
    """The name of its folder or, where there is one, of its metadata file."""
    return subset.image_dir.resolve().name if subset.metadata_file is None else subset.metadata_file.name
