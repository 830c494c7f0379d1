"""Tags that probably mean the same, though they are spelt differently."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

MUCH_RARER = 5
"""A tag is taken for a slip if the tag that it resembles is so many times as frequent."""
_LONGEST_TAG = 40
_SHORTEST_WITH_SLIP = 5
"""Letters. Short tags often differ by a letter on purpose."""
_SHORTEST_WITH_EXCHANGE = 6
"""The same for one letter in another's place: 'shirt' is no slip of 'skirt'."""
_BLANKS = re.compile(r"[\s_-]+")
_PLURAL = re.compile(r"(?<=\w\w)(?<!s)s\b")


@dataclass(frozen=True)
class SimilarTags:
    spellings: tuple[tuple[str, int], ...]
    """Tags and how many captions have them, the most frequent first."""
    is_slip: bool
    """The second is the first with one letter wrong; else only blanks, underscores, hyphens or plural differ."""


def as_compared(tag: str) -> str:
    """Small letters, single blanks for blanks and underscores, no backslashes before brackets."""
    return " ".join(tag.replace("\\", "").replace("_", " ").casefold().split())


def similar_tags(counts: Mapping[str, int]) -> list[SimilarTags]:
    """
    Args:
        counts: tag in small letters, which is how CLIP reads it -> captions that have it. Long ones are taken for
            sentences and left out.
    """
    families: dict[str, Counter[str]] = defaultdict(Counter)
    for tag, count in counts.items():
        if len(tag) <= _LONGEST_TAG:
            families[_family(tag)][tag] += count
    found = [SimilarTags(tuple(family.most_common()), is_slip=False) for family in families.values() if len(family) > 1]
    totals = {name: family.total() for name, family in families.items()}
    for rare, frequent in _slips(totals):
        best = families[frequent].most_common(1)[0][0], totals[frequent]
        found += [SimilarTags((best, slip), is_slip=True) for slip in families[rare].items()]
    return sorted(found, key=lambda similar: (-similar.spellings[0][1], similar.spellings))


def _family(tag: str) -> str:
    """The same for spellings that differ by blanks, underscores, hyphens or plural."""
    return _PLURAL.sub("", _BLANKS.sub(" ", as_compared(tag)).strip())


def _slips(totals: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Rare and frequent spellings that are one letter apart. They share what is left when one letter is taken out."""
    by_remainder: dict[str, list[str]] = defaultdict(list)
    for name in totals:
        if len(name) >= _SHORTEST_WITH_SLIP - 1:
            for remainder in _remainders(name):
                by_remainder[remainder].append(name)
    seen = set()
    for names in by_remainder.values():
        for rare, frequent in _pairs(names, totals):
            if (rare, frequent) not in seen and _is_slip(rare, frequent):
                seen.add((rare, frequent))
                yield rare, frequent


def _remainders(name: str) -> set[str]:
    return {name, *(name[:place] + name[place + 1 :] for place in range(len(name)))}


def _pairs(names: Sequence[str], totals: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    if len(names) < 2:
        return
    for frequent in names:
        for rare in names:
            if totals[frequent] >= MUCH_RARER * totals[rare]:
                yield rare, frequent


def _is_slip(rare: str, frequent: str) -> bool:
    """One letter too many, too few or exchanged, or two neighbours swapped; not a digit, nor a word's first letter."""
    if max(len(rare), len(frequent)) < _SHORTEST_WITH_SLIP:
        return False
    before = _common_start(rare, frequent)
    rare_rest, frequent_rest = rare[before:], frequent[before:]
    after = _common_start(rare_rest[::-1], frequent_rest[::-1])
    wrong, right = rare_rest[: len(rare_rest) - after], frequent_rest[: len(frequent_rest) - after]
    if not rare[:before][-1:].isalpha() or any(not letter.isalpha() for letter in wrong + right):
        return False
    match len(wrong), len(right):
        case (0, 1) | (1, 0):
            return True
        case (1, 1):
            return len(frequent) >= _SHORTEST_WITH_EXCHANGE
        case (2, 2):
            return wrong == right[::-1]
    return False


def _common_start(first: str, second: str) -> int:
    """Letters."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
