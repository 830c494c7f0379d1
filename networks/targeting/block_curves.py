"""Learning rates of a U-Net's blocks that follow a curve, which users name instead of writing a list."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

CURVES: Mapping[str, Callable[[float], float]] = {
    "cosine": lambda place: math.sin(math.pi / 2 * (1 - place)),
    "sine": lambda place: math.sin(math.pi / 2 * place),
    "linear": lambda place: place,
    "reverse_linear": lambda place: 1 - place,
    "zeros": lambda place: 0.0,
}
"""Name -> the factor at a place between 0 (first block of the part) and 1 (last)."""


@dataclass(frozen=True)
class BlockCurve:
    name: str
    """One of CURVES."""
    base: float = 0.0
    """Added everywhere."""

    def factors(self, count: int) -> list[float]:
        """One for each of so many blocks."""
        curve = CURVES[self.name]
        return [self.base + curve(number / max(count - 1, 1)) for number in range(count)]
