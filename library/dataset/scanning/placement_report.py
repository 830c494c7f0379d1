"""What is said about images that their training size does not suit."""

from collections.abc import Callable, Iterator, Sequence

from library.dataset.buckets.placement_rule import effective_bucket_limits
from library.dataset.findings import examples
from library.dataset.records import Dataset, ImageRecord
from library.wording import counted

MOST_ENLARGEMENT = 2.0
"""Factor beyond which a picture shows the blur of its enlargement."""
MOST_CROPPED = 0.5


def placement_warnings(dataset: Dataset) -> Iterator[str]:
    """One line for each kind of bad fit, the worst images first."""
    records = dataset.records
    resolution = "x".join(map(str, dataset.settings.resolution or ()))
    all_images = counted(len(records), "image")
    enable = "" if dataset.settings.enable_bucket else "enable_bucket with "
    enlarged = _worst_first(records, _enlargement, MOST_ENLARGEMENT)
    if enlarged:
        yield (
            f"enlarged more than {MOST_ENLARGEMENT:g} times for the resolution {resolution}, and so blurred: "
            f"{len(enlarged)} of {all_images}, up to {_enlargement(enlarged[0]):.1f} times: {_names(enlarged)}; use "
            f"larger originals, a smaller resolution, or {enable}bucket_no_upscale"
        )
    cropped = _worst_first(records, _cropped_share, MOST_CROPPED)
    if cropped:
        yield (
            f"more than half of the area cropped away at the resolution {resolution}: {len(cropped)} of {all_images}, "
            f"up to {_cropped_share(cropped[0]):.0%}: {_names(cropped)}; crop such images yourself to what matters, "
            f"or give {enable}a larger max_bucket_reso and a smaller min_bucket_reso"
        )
    yield from _beyond_limits(dataset)


def _beyond_limits(dataset: Dataset) -> Iterator[str]:
    """bucket_no_upscale alone lets images make buckets of any size, as in the tool that we follow."""
    settings = dataset.settings
    if not settings.bucket_no_upscale or settings.enforce_bucket_limits or not settings.enable_bucket:
        return
    smallest, largest = effective_bucket_limits(settings)
    beyond = [
        record
        for record in dataset.records
        if min(record.placement.bucket) < smallest or max(record.placement.bucket) > largest
    ]
    if beyond:
        width, height = max((record.placement.bucket for record in beyond), key=max)
        yield (
            f"bucket_no_upscale ignores min_bucket_reso {settings.min_bucket_reso} and max_bucket_reso "
            f"{settings.max_bucket_reso}: {len(beyond)} of {counted(len(dataset.records), 'image')} in buckets beyond "
            f"them, up to {width}x{height}: {_names(beyond)}; to have the limits kept, add enforce_bucket_limits"
        )


def _worst_first(
    records: Sequence[ImageRecord], measure: Callable[[ImageRecord], float], limit: float
) -> list[ImageRecord]:
    return sorted((record for record in records if measure(record) > limit), key=measure, reverse=True)


def _enlargement(record: ImageRecord) -> float:
    return record.placement.enlargement(record.size)


def _cropped_share(record: ImageRecord) -> float:
    return record.placement.cropped_share


def _names(records: Sequence[ImageRecord]) -> str:
    return examples([record.path for record in records])
