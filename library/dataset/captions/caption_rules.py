"""What a stored caption becomes when it is used: the rules of kohya's sd-scripts, in their order."""

import math
import random
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from library.options.dataset_settings import SubsetSettings

_OPENING, _CLOSING = "\ue000", "\ue001"
"""Stand for escaped braces while wildcards are chosen: characters that Unicode assigns to nobody."""
_WILDCARD = re.compile(r"\{([^}]+)\}")


@dataclass(frozen=True)
class Moment:
    """When in a run a caption is used."""

    epoch: int
    """Counted from 0."""
    step: int
    """Optimizer step, counted from 0."""
    max_train_steps: int
    """Length of the run in optimizer steps."""


def apply_caption_rules(caption: str, rules: SubsetSettings, moment: Moment, rng: random.Random) -> str:
    """The caption of one exposure.

    Args:
        rng: seeded for this image and exposure; each rule draws from it in a fixed order.
    """
    if rules.caption_prefix:
        caption = f"{rules.caption_prefix} {caption}"
    if rules.caption_suffix:
        caption = f"{caption} {rules.caption_suffix}"
    if _is_dropped(rules, moment.epoch, rng):
        return ""
    caption = choose_wildcards(caption, rng) if rules.enable_wildcard else caption.split("\n", 1)[0]
    if rules.takes_tags_apart:
        caption = _rearrange_tags(caption, rules, moment, rng)
    if rules.secondary_separator:
        caption = caption.replace(rules.secondary_separator, rules.caption_separator)
    return _replace_words(caption, rules.caption_replacements or {}, rng)


def longest_caption(caption: str, rules: SubsetSettings) -> str:
    """The caption of an exposure in which nothing is dropped, its tags in their order, of each choice the longest."""
    after_warmup = Moment(epoch=0, step=sys.maxsize, max_train_steps=sys.maxsize)
    return apply_caption_rules(caption, without_dropout(rules), after_warmup, _Longest(0))


class _Longest(random.Random):
    """Keeps everything, and everything in its place."""

    def choice(self, seq: Sequence[str]) -> str:  # type: ignore[override]
        return max(seq, key=len)

    def shuffle(self, x: Any) -> None:
        pass

    def random(self) -> float:
        return 1.0


def choose_wildcards(caption: str, rng: random.Random) -> str:
    """One of the lines, with each {a|b} replaced by one of its alternatives; {{ and }} stand for braces."""
    line = rng.choice(caption.split("\n"))
    escaped = line.replace("{{", _OPENING).replace("}}", _CLOSING)
    chosen = _WILDCARD.sub(lambda found: rng.choice(found[1].split("|")), escaped)
    return chosen.replace(_OPENING, "{").replace(_CLOSING, "}")


def without_dropout(rules: SubsetSettings) -> SubsetSettings:
    """Rules that make the same draws, so that the tags are arranged alike, but never empty the whole caption."""
    return rules.model_copy(update={"caption_dropout_rate": 0.0, "caption_dropout_every_n_epochs": 0})


def _is_dropped(rules: SubsetSettings, epoch: int, rng: random.Random) -> bool:
    if rng.random() < rules.caption_dropout_rate:
        return True
    every = rules.caption_dropout_every_n_epochs
    return every > 0 and (epoch + 1) % every == 0


def stored_tags(caption: str, rules: SubsetSettings) -> list[str]:
    """Of all lines that may be used, without the marks between them. What stands in braces, to be chosen from, stays in
    one piece."""
    lines = caption.split("\n") if rules.enable_wildcard else caption.split("\n", 1)[:1]
    marks = (rules.caption_separator, rules.secondary_separator, rules.keep_tokens_separator)
    longest_first = sorted(filter(None, marks), key=len, reverse=True)  # a mark may hold another
    between = "|".join(map(re.escape, longest_first))
    if rules.enable_wildcard:
        between = f"(?:{between})(?![^{{}}]*}})"
    return [tag for line in lines for part in re.split(between, line) if (tag := part.strip())]


def _rearrange_tags(caption: str, rules: SubsetSettings, moment: Moment, rng: random.Random) -> str:
    """Leaves tags out and shuffles the others, except those that are to stay where they are; empty tags vanish."""
    head, flexible, tail = _parts(caption, rules)
    flexible = flexible[: _num_warmed_up(len(flexible), rules, moment)]
    if rules.shuffle_caption:
        rng.shuffle(flexible)
    kept = [tag for tag in flexible if rng.random() >= rules.caption_tag_dropout_rate]
    return _joining_separator(rules.caption_separator).join([*head, *kept, *tail])


def warmup_steps(rules: SubsetSettings, max_train_steps: int) -> float:
    """The step from which all tags are used; 0 without a tag warm-up."""
    given = rules.token_warmup_step
    return math.floor(given * max_train_steps) if given < 1 else given


def _num_warmed_up(num_tags: int, rules: SubsetSettings, moment: Moment) -> int:
    """How many of the tags that may move are used at this step. A minimum beyond their number means all of them."""
    end = warmup_steps(rules, moment.max_train_steps)
    if moment.step >= end:
        return num_tags
    return math.floor(moment.step * ((num_tags - rules.token_warmup_min) / end)) + rules.token_warmup_min


def _parts(caption: str, rules: SubsetSettings) -> tuple[list[str], list[str], list[str]]:
    """Tags that stay in front, tags that may move, tags that stay at the end."""
    mark = rules.keep_tokens_separator
    if mark and mark in caption:
        head, flexible, *tail = (_tags(part, rules) for part in caption.split(mark, 2))
        return head, flexible, tail[0] if tail else []
    tags = _tags(caption, rules)
    return tags[: rules.keep_tokens], tags[rules.keep_tokens :], []


def _tags(text: str, rules: SubsetSettings) -> list[str]:
    return [tag for part in text.split(rules.caption_separator) if (tag := part.strip())]


def _joining_separator(separator: str) -> str:
    """Tags are joined again with what separated them, followed by a blank as people write it."""
    return separator if separator.endswith((" ", "\n")) else f"{separator} "


def _replace_words(caption: str, replacements: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    """Each text that is a key becomes one of its replacements; the key "" stands for the whole caption."""
    for text, choices in replacements.items():
        chosen = rng.choice(choices) if len(choices) > 1 else choices[0]
        caption = caption.replace(text, chosen) if text else chosen
    return caption
