"""Rules about options of averaged weights that depend on each other."""

from collections.abc import Callable, Iterator

from library.options.findings import Finding, Given
from library.options.schema import Settings

Rule = Callable[[Settings, Given], Iterator[Finding]]

AVERAGING_RULES: tuple[Rule, ...] = ()
