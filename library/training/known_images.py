"""Where a run keeps what it knows about its image files."""

from collections.abc import Sequence
from pathlib import Path

from library.dataset.images.image_index import ImageIndex
from library.options.dataset_settings import DatasetSettings
from library.options.resolution import ResolvedOptions


def cache_folder_of(resolved: ResolvedOptions, datasets: Sequence[DatasetSettings]) -> Path:
    """Where caches on disk are."""
    given = resolved.settings.cache.cache_dir
    if given is not None:
        return given
    first = next(subset for dataset in datasets for subset in dataset.subsets)
    return first.image_dir / ".cache"


def open_image_index(resolved: ResolvedOptions, datasets: Sequence[DatasetSettings]) -> ImageIndex:
    """In the cache folder if anything about images is to be kept for the next run, else in memory."""
    cache = resolved.settings.cache
    subsets = [subset for dataset in datasets for subset in dataset.subsets]
    is_kept = bool(subsets) and (
        cache.cache_latents_to_disk or cache.cache_dir is not None or any(subset.cache_info for subset in subsets)
    )
    return ImageIndex(cache_folder_of(resolved, datasets) if is_kept else None, cache.skip_cache_check)
