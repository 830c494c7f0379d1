"""What a check finds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

EXAMPLES_SHOWN = 5


@dataclass
class Findings:
    """Collected over a whole check, so that everything is reported at once."""

    problems: list[str] = field(default_factory=list)
    """Nothing may be started while there are any."""
    warnings: list[str] = field(default_factory=list)


def examples(paths: Sequence[Path]) -> str:
    """The names of the first few files."""
    names = ", ".join(path.name for path in paths[:EXAMPLES_SHOWN])
    return names if len(paths) <= EXAMPLES_SHOWN else f"{names}, ..."
