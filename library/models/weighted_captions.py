"""The syntax for weights in captions that Stable Diffusion web UI made common."""

import re
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter

Fragment = tuple[str, float]
"""Text and its weight."""

_FACTORS = {"(": 1.1, "[": 1 / 1.1}
_OPENED_BY = {")": "(", "]": "["}
_PARTS = re.compile(
    r"""
      \\[()\[\]\\]?                                        # an escaped character; alone, a backslash vanishes
    | :(?P<weight>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))\)     # the end of (text:1.3)
    | [()\[\]]
    | [^\\()\[\]:]+
    | :
    """,
    re.VERBOSE,
)


def split_by_weight(caption: str) -> list[Fragment]:
    """The caption in fragments of one weight each; neighbours differ in weight, and there is at least one.

    (text) multiplies by 1.1, [text] divides by it, (text:1.3) multiplies by the number, nesting multiplies. A
    backslash makes a bracket literal, a bracket that is never closed acts to the end, and one that was never opened
    is text.
    """
    fragments: list[Fragment] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}  # for each open bracket, the number of fragments before it
    for match in _PARTS.finditer(caption):
        part, weight = match[0], match["weight"]
        opening = "(" if weight else _OPENED_BY.get(part)
        if part in opened:
            opened[part].append(len(fragments))
        elif opening and opened[opening]:
            first = opened[opening].pop()
            fragments[first:] = _scaled(fragments[first:], float(weight) if weight else _FACTORS[opening])
        else:
            fragments.append((part.removeprefix("\\"), 1.0))
    for opening, starts in opened.items():
        for first in starts:
            fragments[first:] = _scaled(fragments[first:], _FACTORS[opening])
    return _joined(fragments) or [("", 1.0)]


def _scaled(fragments: Iterable[Fragment], factor: float) -> list[Fragment]:
    return [(text, weight * factor) for text, weight in fragments]


def _joined(fragments: Iterable[Fragment]) -> list[Fragment]:
    return [
        ("".join(text for text, _ in neighbours), weight) for weight, neighbours in groupby(fragments, itemgetter(1))
    ]
