"""What a stored caption becomes when it is used: the rules of kohya's sd-scripts, in their order."""

import random
import re
import sys
from collections.abc import Sequence

from library.options.groups import CaptionOptions

_OPENING, _CLOSING = "\ue000", "\ue001"
"""Stand for escaped braces while wildcards are chosen: characters that Unicode assigns to nobody."""
_WILDCARD = re.compile(r"\{([^}]+)\}")


def apply_caption_rules(caption: str, rules: CaptionOptions, epoch: int, rng: random.Random) -> str:
    """The caption of one exposure.

    Args:
        epoch: counted from 1.
        rng: seeded for this image and exposure; each rule draws from it in a fixed order.
    """
    if rules.caption_prefix:
        caption = f"{rules.caption_prefix} {caption}"
    if rules.caption_suffix:
        caption = f"{caption} {rules.caption_suffix}"
    if _is_dropped(rules, epoch, rng):
        return ""
    caption = choose_wildcards(caption, rng) if rules.enable_wildcard else caption.split("\n", 1)[0]
    if rules.shuffle_caption or rules.caption_tag_dropout_rate > 0:
        caption = _rearrange_tags(caption, rules, rng)
    if rules.secondary_separator:
        caption = caption.replace(rules.secondary_separator, rules.caption_separator)
    return caption


def longest_caption(caption: str, rules: CaptionOptions) -> str:
    """The caption of an exposure in which nothing is dropped, its tags in their order, of each choice the longest."""
    # All tags are fixed: without shuffling and dropout of tags, their separators would stay as written.
    kept = without_dropout(rules).model_copy(update={"keep_tokens": sys.maxsize})
    return apply_caption_rules(caption, kept, epoch=1, rng=_Longest(0))


class _Longest(random.Random):
    def choice(self, seq: Sequence[str]) -> str:  # type: ignore[override]
        return max(seq, key=len)


def choose_wildcards(caption: str, rng: random.Random) -> str:
    """One of the lines, with each {a|b} replaced by one of its alternatives; {{ and }} stand for braces."""
    line = rng.choice(caption.split("\n"))
    escaped = line.replace("{{", _OPENING).replace("}}", _CLOSING)
    chosen = _WILDCARD.sub(lambda found: rng.choice(found[1].split("|")), escaped)
    return chosen.replace(_OPENING, "{").replace(_CLOSING, "}")


def without_dropout(rules: CaptionOptions) -> CaptionOptions:
    """Rules that make the same draws, so that the tags are arranged alike, but never empty the whole caption."""
    return rules.model_copy(update={"caption_dropout_rate": 0.0, "caption_dropout_every_n_epochs": 0})


def _is_dropped(rules: CaptionOptions, epoch: int, rng: random.Random) -> bool:
    if rng.random() < rules.caption_dropout_rate:
        return True
    every = rules.caption_dropout_every_n_epochs
    return every > 0 and epoch % every == 0


def _rearrange_tags(caption: str, rules: CaptionOptions, rng: random.Random) -> str:
    """Shuffles the tags and drops some, except those that are to stay where they are; empty tags vanish."""
    head, flexible, tail = _parts(caption, rules)
    if rules.shuffle_caption:
        rng.shuffle(flexible)
    kept = [tag for tag in flexible if rng.random() >= rules.caption_tag_dropout_rate]
    return _joining_separator(rules.caption_separator).join([*head, *kept, *tail])


def _parts(caption: str, rules: CaptionOptions) -> tuple[list[str], list[str], list[str]]:
    """Tags that stay in front, tags that may move, tags that stay at the end."""
    mark = rules.keep_tokens_separator
    if mark and mark in caption:
        head, flexible, *tail = (_tags(part, rules) for part in caption.split(mark, 2))
        return head, flexible, tail[0] if tail else []
    tags = _tags(caption, rules)
    return tags[: rules.keep_tokens], tags[rules.keep_tokens :], []


def _tags(text: str, rules: CaptionOptions) -> list[str]:
    return [tag for part in text.split(rules.caption_separator) if (tag := part.strip())]


def _joining_separator(separator: str) -> str:
    """Tags are joined again with what separated them, followed by a blank as people write it."""
    return separator if separator.endswith((" ", "\n")) else f"{separator} "
