"""Rules about options of the loss that depend on each other."""

from collections.abc import Callable, Iterator

from library.options.findings import Finding, Given
from library.options.schema import Settings

Rule = Callable[[Settings, Given], Iterator[Finding]]

LOSS_RULES: tuple[Rule, ...] = ()
