"""Rules that the golden table leaves open, and the independence of their draws."""

import random

import pytest

from library.dataset.caption_rules import apply_caption_rules, longest_caption
from library.options.groups import CaptionOptions

CAPTION = "sks cat, red hat, smile, park"


def apply(caption=CAPTION, epoch=1, seed=0, **rules) -> str:
    return apply_caption_rules(caption, CaptionOptions(**rules), epoch, random.Random(seed))


def test_nothing_to_do():
    assert apply("a,b,,c  ") == "a,b,,c  "


def test_prefix_and_suffix_are_dropped_with_the_caption():
    assert apply(caption_prefix="pre", caption_suffix="post", caption_dropout_rate=1.0) == ""


@pytest.mark.parametrize(("epoch", "expected"), [(1, CAPTION), (2, CAPTION), (3, ""), (4, CAPTION), (6, "")])
def test_dropout_every_n_epochs_counts_from_one(epoch, expected):
    assert apply(epoch=epoch, caption_dropout_every_n_epochs=3) == expected


def test_shuffling_keeps_the_first_tags():
    results = {apply(seed=seed, shuffle_caption=True, keep_tokens=2) for seed in range(40)}
    assert results == {"sks cat, red hat, smile, park", "sks cat, red hat, park, smile"}


def test_tag_dropout_spares_the_first_tags():
    assert apply(caption_tag_dropout_rate=1.0, keep_tokens=1) == "sks cat"


def test_empty_tags_vanish():
    assert apply("a,b,,c,", caption_tag_dropout_rate=1e-9) == "a, b, c"


def test_tags_are_joined_with_what_separated_them():
    assert apply("a; b;c", caption_separator=";", caption_tag_dropout_rate=1e-9) == "a; b; c"


def test_secondary_separator_keeps_groups_together():
    results = {apply("a;;;b, c", shuffle_caption=True, secondary_separator=";;;", seed=seed) for seed in range(20)}
    assert results == {"a,b, c", "c, a,b"}


@pytest.mark.parametrize(
    ("caption", "rules", "expected"),
    [
        ("a,b,,c", {}, "a,b,,c"),
        ("first\nsecond", {"caption_prefix": "pre"}, "pre first"),
        ("a", {"caption_prefix": "pre", "caption_suffix": "post", "caption_dropout_rate": 1.0}, "pre a post"),
        ("a, b", {"caption_dropout_every_n_epochs": 1}, "a, b"),
        ("a,b,,c", {"caption_tag_dropout_rate": 1.0}, "a, b, c"),
        ("a,b,,c", {"shuffle_caption": True, "keep_tokens": 1}, "a, b, c"),
        ("a;;;b, c", {"secondary_separator": ";;;"}, "a,b, c"),
    ],
)
def test_the_longest_caption_has_everything(caption, rules, expected):
    assert longest_caption(caption, CaptionOptions(**rules)) == expected


def test_each_use_chooses_a_line_and_its_wildcards():
    caption = "a {red|green} car\n{{no}} choice"
    results = {apply(caption, seed=seed, enable_wildcard=True) for seed in range(60)}
    assert results == {"a red car", "a green car", "{no} choice"}


def test_wildcards_come_before_tags_are_shuffled():
    results = {apply("x, {a, b|c}", seed=seed, enable_wildcard=True, shuffle_caption=True) for seed in range(100)}
    assert {"c, x", "x, c", "a, x, b"} < results
    assert not any("|" in result or "{" in result for result in results)


def test_the_longest_of_each_choice_counts():
    caption = "one, {a|longest tag|b}\nshort"
    assert longest_caption(caption, CaptionOptions(enable_wildcard=True, shuffle_caption=True)) == "one, longest tag"


def test_a_mark_beats_the_number_of_tags_that_stay():
    rules = {"shuffle_caption": True, "keep_tokens": 3, "keep_tokens_separator": "|||"}
    results = {apply("h ||| a, b, c ||| t, u", seed=seed, **rules) for seed in range(200)}
    assert len(results) == 6
    assert all(result.startswith("h, ") and result.endswith(", t, u") for result in results)
    assert {apply("h1, h2, h3, a", seed=seed, **rules) for seed in range(20)} == {"h1, h2, h3, a"}
