"""What a check finds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from library.wording import listed

EXAMPLES_SHOWN = 5


@dataclass(frozen=True)
class SkippedImage:
    """An image file that cannot be used."""

    path: Path
    reason: str


_Found = TypeVar("_Found", str, SkippedImage)


@dataclass
class Findings:
    """Collected over a whole check, so that everything is reported at once."""

    problems: list[str] = field(default_factory=list)
    """Nothing may be started while there are any."""
    warnings: list[str] = field(default_factory=list)
    skipped: list[SkippedImage] = field(default_factory=list)
    """All images that cannot be used; warnings or problems tell of them."""

    def add(self, others: "Findings") -> None:
        """What has been found already is not told again: several datasets may use one folder at several sizes."""
        _add_new(self.problems, others.problems)
        _add_new(self.warnings, others.warnings)
        _add_new(self.skipped, others.skipped)


def _add_new(known: list[_Found], found: Sequence[_Found]) -> None:
    seen = set(known)
    known += [one for one in dict.fromkeys(found) if one not in seen]


def examples(paths: Sequence[Path]) -> str:
    """The names of the first few files."""
    return listed([path.name for path in paths], EXAMPLES_SHOWN)
