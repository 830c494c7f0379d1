"""From a dataset's settings to the rule by which its images find their training size."""

from collections.abc import Callable

from library.dataset.aspect_buckets import (
    Placement,
    Size,
    cover,
    place_in_nearest_bucket,
    place_without_upscaling,
    place_without_upscaling_within,
    predefined_buckets,
)
from library.dataset.findings import Findings
from library.options.dataset_settings import DATASET_KEYS, DatasetSettings

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
        findings.warnings += _ignored_limits(settings)
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


def _ignored_limits(settings: DatasetSettings) -> list[str]:
    names = ("min_bucket_reso", "max_bucket_reso")
    changed = [name for name in names if getattr(settings, name) != DATASET_KEYS[name].default]
    if not changed:
        return []
    given = " and ".join(f"{name} {getattr(settings, name)}" for name in changed)
    return [
        f"{given} {'have' if len(changed) > 1 else 'has'} no effect with bucket_no_upscale: the images' own sizes set "
        "the limits; to have them kept, add enforce_bucket_limits"
    ]


def _contradictions(settings: DatasetSettings, resolution: Size) -> list[str]:
    smallest, largest = effective_bucket_limits(settings)
    shown = f"{resolution[0]}x{resolution[1]}"
    problems = []
    if smallest > min(resolution):
        problems.append(f"min_bucket_reso {settings.min_bucket_reso} must not exceed the resolution {shown}")
    if largest < max(resolution):
        problems.append(f"max_bucket_reso {settings.max_bucket_reso} must not be below the resolution {shown}")
    if smallest < 1 or min(resolution) < settings.bucket_reso_steps:
        problems.append(
            f"bucket_reso_steps {settings.bucket_reso_steps} is larger than the smallest side allowed; "
            "give a smaller step or a larger resolution and min_bucket_reso"
        )
    return problems
