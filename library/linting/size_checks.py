"""Findings about images that their training size does not suit."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from library.dataset.buckets.aspect_buckets import Placement, Size
from library.dataset.buckets.placement_rule import PlacementRule, placement_rule
from library.dataset.findings import Findings
from library.dataset.scanning.placement_report import MOST_CROPPED, MOST_ENLARGEMENT
from library.linting import kinds
from library.linting.image_facts import ImageFacts
from library.linting.inventory import Inventory
from library.linting.kinds import Finding

EXTREME_RATIO = 4.0
"""Longer to shorter side."""


def size_findings(inventory: Inventory, facts: Mapping[Path, ImageFacts]) -> list[Finding]:
    """For each dataset with its own resolution and buckets; the worst first."""
    rules: dict[int, PlacementRule] = {}
    found: list[Finding] = []
    for image in inventory.images:
        place = rules.setdefault(id(image.dataset), placement_rule(image.dataset, Findings()))
        if facts[image.path].damage is None:
            found += _about_size(image.path, facts[image.path].size, place(facts[image.path].size))
    return sorted(found, key=lambda finding: -max(finding.details.get(name, 0) for name in ("factor", "cropped")))


def ratio_findings(facts: Mapping[Path, ImageFacts]) -> Iterator[Finding]:
    """Whatever the resolution."""
    for one in facts.values():
        if one.damage is None and max(one.size) > EXTREME_RATIO * min(one.size):
            width, height = one.size
            text = f"{width}x{height}, {max(one.size) / min(one.size):.0f} to 1"
            yield Finding(kinds.SIZE_EXTREME_RATIO, (one.path,), text, {"width": width, "height": height})


def _about_size(path: Path, size: Size, placement: Placement | None) -> Iterator[Finding]:
    shown, details = f"{size[0]}x{size[1]}", {"width": size[0], "height": size[1]}
    if placement is None:
        yield Finding(kinds.SIZE_TOO_SMALL, (path,), shown, details)
        return
    bucket = f"{placement.bucket[0]}x{placement.bucket[1]}"
    factor, cropped = placement.enlargement(size), placement.cropped_share
    if factor > MOST_ENLARGEMENT:
        text = f"{shown} is enlarged {factor:.1f} times to fill {bucket}"
        yield Finding(kinds.SIZE_ENLARGED, (path,), text, {**details, "factor": round(factor, 3)})
    if cropped > MOST_CROPPED:
        text = f"{shown} loses {cropped:.0%} of its area for {bucket}"
        yield Finding(kinds.SIZE_CROPPED, (path,), text, {**details, "cropped": round(cropped, 3)})
