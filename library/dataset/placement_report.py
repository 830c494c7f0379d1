"""What is said about images that their training size does not suit."""

from collections.abc import Callable, Iterator, Sequence

from library.dataset.findings import examples
from library.dataset.records import Dataset, ImageRecord

MOST_ENLARGEMENT = 2.0
"""Factor beyond which a picture shows the blur of its enlargement."""
MOST_CROPPED = 0.5


def placement_warnings(dataset: Dataset) -> Iterator[str]:
    """One line for each kind of bad fit, the worst images first."""
    records = dataset.records
    resolution = "x".join(map(str, dataset.settings.resolution or ()))
    enlarged = _worst_first(records, _enlargement, MOST_ENLARGEMENT)
    if enlarged:
        yield (
            f"{len(enlarged)} of {len(records)} images are enlarged more than {MOST_ENLARGEMENT:g} times for the "
            f"resolution {resolution}, up to {_enlargement(enlarged[0]):.1f} times, and will look blurred: "
            f"{_names(enlarged)}. Use larger originals, a smaller resolution, or bucket_no_upscale"
        )
    cropped = _worst_first(records, _cropped_share, MOST_CROPPED)
    if cropped:
        yield (
            f"{len(cropped)} of {len(records)} images lose more than half of their area to cropping at the resolution "
            f"{resolution}, up to {_cropped_share(cropped[0]):.0%}: {_names(cropped)}. Crop them "
            "yourself to what matters, or give a larger max_bucket_reso and a smaller min_bucket_reso"
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
