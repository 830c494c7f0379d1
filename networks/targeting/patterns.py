"""Regular expressions by which users choose layers."""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

_EXAMPLES = 3


class Named(Protocol):
    """A layer that can be chosen: a Target."""

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> str: ...


def matches_name(pattern: str, path: str) -> bool:
    """Whether a name of a preset means a layer: from the start of its path, as in LyCORIS, or as the end of it."""
    return re.match(pattern, path) is not None or re.search(rf"\.(?:{pattern})$", path) is not None


def matches(pattern: str, layer: Named) -> bool:
    """Whether a regular expression of the user is found in a layer's dotted path or key name."""
    return re.search(pattern, layer.path) is not None or re.search(pattern, layer.name) is not None


def unmatched_patterns(
    argument: str, patterns: Iterable[str], layers: Iterable[Named], others: Iterable[Named] = ()
) -> list[str]:
    """What is wrong with the regular expressions of an argument that match none of the network's layers.

    Args:
        others: layers that could have been chosen.
    """
    layers, others = list(layers), list(others)
    return [
        f"--network_args {argument}: '{pattern}' matches no layer of the network{_hint(pattern, layers, others)}"
        for pattern in patterns
        if not any(matches(pattern, layer) for layer in layers)
    ]


def _hint(pattern: str, layers: Sequence[Named], others: Sequence[Named]) -> str:
    not_chosen = next((layer for layer in others if matches(pattern, layer)), None)
    if not_chosen is not None:
        return f", only layers that preset and conv_dim do not choose, such as {not_chosen.path}"
    examples = layers[:: max(len(layers) // _EXAMPLES, 1)][:_EXAMPLES]
    return f"; its layers are such as {', '.join(layer.path for layer in examples)}"
