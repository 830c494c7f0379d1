"""What a rule about options can find."""

from dataclasses import dataclass

Given = frozenset[str]
"""Names of the options that were written down anywhere."""


@dataclass(frozen=True)
class Problem:
    text: str


@dataclass(frozen=True)
class Notice:
    """Accepted, but it has no effect or not the one that it seems to have."""

    text: str


Finding = Problem | Notice
