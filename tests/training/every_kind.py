"""Every network module for a test with whole runs: a few of them by default, the others among the slow tests."""

from collections.abc import Iterable

import pytest

QUICK = frozenset({"networks.lora", "networks.dora", "networks.oft"})


def every_kind(modules: Iterable[str]) -> list:
    return [module if module in QUICK else pytest.param(module, marks=pytest.mark.slow) for module in modules]
