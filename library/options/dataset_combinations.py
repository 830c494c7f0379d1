"""What settings of datasets and options of the run contradict each other, wherever they were written."""

from collections.abc import Iterator, Sequence

from library.options.dataset_settings import DatasetSettings
from library.options.groups import CacheOptions

_CHANGES = {
    "color_aug": "the colours",
    "random_crop": "where it is cropped",
    "face_crop_aug_range": "where it is cropped",
}
"""What draws a new picture for each use of an image -> what that changes."""


def contradictions(datasets: Sequence[DatasetSettings], cache: CacheOptions) -> Iterator[str]:
    yield from _without_network(datasets)
    yield from _cached_changes(datasets, cache)


def _without_network(datasets: Sequence[DatasetSettings]) -> Iterator[str]:
    for number, dataset in enumerate(datasets, 1):
        if dataset.network_multiplier == 0:
            yield (
                f"dataset {number}: network_multiplier 0: the network would have no part in these images, and learn "
                "nothing from them; give another strength, or leave the dataset out"
            )


def _cached_changes(datasets: Sequence[DatasetSettings], cache: CacheOptions) -> Iterator[str]:
    """Pictures that are drawn anew at each use cannot be cached. Flips can: both pictures are."""
    options = [f"--{name}" for name in ("cache_latents", "cache_latents_to_disk") if getattr(cache, name)]
    if not options:
        return
    caching = " and ".join(options)
    subsets = [subset for dataset in datasets for subset in dataset.subsets]
    for name, change in _CHANGES.items():
        folders = dict.fromkeys(f"'{subset.image_dir}'" for subset in subsets if getattr(subset, name))
        if folders:
            yield (
                f"{name} of {', '.join(folders)} changes {change} each time an image is used, but with {caching} only "
                f"one picture of each is kept: leave out {name}, or {caching}"
            )
