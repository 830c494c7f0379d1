"""From a dataset's settings to the rule by which its images find their training size."""

from collections.abc import Callable

from library.dataset.buckets.aspect_buckets import (
    Placement,
    Size,
    cover,
    place_in_nearest_bucket,
    place_without_upscaling,
    place_without_upscaling_within,
    predefined_buckets,
)
from library.dataset.findings import Findings
from library.options.dataset_settings import DatasetSettings

PlacementRule = Callable[[Size], Placement | None]
"""Image size -> placement; None when the image is too small to be used."""


def effective_bucket_limits(settings: DatasetSettings) -> tuple[int, int]:
    """Smallest and largest bucket side in pixels, rounded outwards to multiples of the step."""
    steps = settings.bucket_reso_steps
    return settings.min_bucket_reso // steps * steps, -(-settings.max_bucket_reso // steps) * steps


def placement_rule(settings: DatasetSettings, findings: Findings) -> PlacementRule:
    """Settings that contradict each other are added to `findings`; any rule will do then."""
    resolution, steps = settings.resolution, settings.bucket_reso_steps
    if resolution is None:
        return lambda size: None
    if not settings.enable_bucket:
        return lambda size: cover(size, resolution)
    if settings.bucket_no_upscale and not settings.enforce_bucket_limits:
        return lambda size: place_without_upscaling(size, resolution, steps)
    problems = _contradictions(settings, resolution)
    if problems:
        findings.problems += problems
        return lambda size: cover(size, resolution)
    smallest, largest = effective_bucket_limits(settings)
    if settings.bucket_no_upscale:
        return lambda size: place_without_upscaling_within(size, resolution, steps, smallest, largest)
    buckets = predefined_buckets(resolution, smallest, largest, steps)
    return lambda size: place_in_nearest_bucket(size, buckets)


def _contradictions(settings: DatasetSettings, resolution: Size) -> list[str]:
    smallest, largest = effective_bucket_limits(settings)
    shown = f"{resolution[0]}x{resolution[1]}"
    problems = []
    if smallest > min(resolution):
        problems.append(
            f"min_bucket_reso {settings.min_bucket_reso} must not exceed the resolution {shown}; give min_bucket_reso "
            f"{min(resolution)} or less"
        )
    if largest < max(resolution):
        problems.append(
            f"max_bucket_reso {settings.max_bucket_reso} must not be below the resolution {shown}; give "
            f"max_bucket_reso {max(resolution)} or more"
        )
    if smallest < 1 or min(resolution) < settings.bucket_reso_steps:
        problems.append(
            f"bucket_reso_steps {settings.bucket_reso_steps} is larger than the smallest side allowed; "
            "give a smaller step or a larger resolution and min_bucket_reso"
        )
    return problems
