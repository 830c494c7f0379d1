"""What a case of a rule says."""

from dataclasses import dataclass

DATA = ("--train_data_dir", "--resolution")
"""What a dataset file stands in for."""


@dataclass(frozen=True)
class Case:
    words: str
    """Added to a complete command line; they trigger the rule."""
    message: str
    quiet: str
    """Added instead, they trigger nothing."""
    without: tuple[str, ...] = ()
    """Options taken out of the complete command line, in the first case only."""
    without_in_quiet: tuple[str, ...] = ()
