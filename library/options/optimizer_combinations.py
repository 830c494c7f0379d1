"""Rules about options of the optimizer that depend on each other."""

from collections.abc import Iterator

from library.options.findings import Finding, Given, Problem
from library.options.schema import Settings


def _optimizer(settings: Settings, given: Given) -> Iterator[Finding]:
    optimizer = settings.optimizer
    if optimizer.use_8bit_adam and optimizer.optimizer_type.lower() not in ("", "adamw8bit"):
        yield Problem(
            f"--use_8bit_adam means --optimizer_type AdamW8bit, but --optimizer_type {optimizer.optimizer_type} "
            "was given; leave one of them out"
        )


OPTIMIZER_RULES = (_optimizer,)
