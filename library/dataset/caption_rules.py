"""What a stored caption becomes when it is used: the rules of kohya's sd-scripts, in their order."""

import random
import sys

from library.options.groups import CaptionOptions


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
    caption = caption.split("\n", 1)[0]
    if rules.shuffle_caption or rules.caption_tag_dropout_rate > 0:
        caption = _rearrange_tags(caption, rules, rng)
    if rules.secondary_separator:
        caption = caption.replace(rules.secondary_separator, rules.caption_separator)
    return caption


def longest_caption(caption: str, rules: CaptionOptions) -> str:
    """The caption of an exposure in which nothing is dropped, its tags in their order."""
    # All tags are fixed: without shuffling and dropout of tags, their separators would stay as written.
    kept = without_dropout(rules).model_copy(update={"keep_tokens": sys.maxsize})
    return apply_caption_rules(caption, kept, epoch=1, rng=random.Random(0))


def without_dropout(rules: CaptionOptions) -> CaptionOptions:
    """Rules that make the same draws, so that the tags are arranged alike, but never empty the whole caption."""
    return rules.model_copy(update={"caption_dropout_rate": 0.0, "caption_dropout_every_n_epochs": 0})


def _is_dropped(rules: CaptionOptions, epoch: int, rng: random.Random) -> bool:
    if rng.random() < rules.caption_dropout_rate:
        return True
    every = rules.caption_dropout_every_n_epochs
    return every > 0 and epoch % every == 0


def _rearrange_tags(caption: str, rules: CaptionOptions, rng: random.Random) -> str:
    """Shuffles the tags and drops some, except the first `keep_tokens`; empty tags vanish."""
    tags = [tag.strip() for tag in caption.strip().split(rules.caption_separator)]
    tags = [tag for tag in tags if tag]
    fixed, flexible = tags[: rules.keep_tokens], tags[rules.keep_tokens :]
    if rules.shuffle_caption:
        rng.shuffle(flexible)
    kept = [tag for tag in flexible if rng.random() >= rules.caption_tag_dropout_rate]
    return _joining_separator(rules.caption_separator).join(fixed + kept)


def _joining_separator(separator: str) -> str:
    """Tags are joined again with what separated them, followed by a blank as people write it."""
    return separator if separator.endswith((" ", "\n")) else f"{separator} "
