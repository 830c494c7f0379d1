"""What a check finds."""

from dataclasses import dataclass, field


@dataclass
class Findings:
    """Collected over a whole check, so that everything is reported at once."""

    problems: list[str] = field(default_factory=list)
    """Nothing may be started while there are any."""
    warnings: list[str] = field(default_factory=list)
