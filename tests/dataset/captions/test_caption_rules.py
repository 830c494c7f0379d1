"""Rules that the golden table leaves open, and the independence of their draws."""

import random

import pytest

from library.dataset.captions.caption_rules import Moment, apply_caption_rules, longest_caption
from library.options.dataset_settings import SubsetSettings

CAPTION = "sks cat, red hat, smile, park"


def apply(caption=CAPTION, epoch=1, seed=0, step=0, **rules) -> str:
    """epoch counted from 1"""
    return apply_caption_rules(caption, SubsetSettings(**rules), Moment(epoch - 1, step, 100), random.Random(seed))


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
        ("h ||| a,b,c ||| t", {"keep_tokens_separator": "|||", "caption_tag_dropout_rate": 0.9}, "h, a, b, c, t"),
        ("h ||| a,b,c", {"keep_tokens_separator": "|||", "shuffle_caption": True}, "h, a, b, c"),
        ("a,b,c", {"token_warmup_step": 0.5}, "a, b, c"),
        ("a sks", {"caption_replacements": {"sks": ["x", "a longer one", "y"]}}, "a a longer one"),
    ],
)
def test_the_longest_caption_has_everything(caption, rules, expected):
    assert longest_caption(caption, SubsetSettings(**rules)) == expected


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
    assert longest_caption(caption, SubsetSettings(enable_wildcard=True, shuffle_caption=True)) == "one, longest tag"


def test_a_mark_beats_the_number_of_tags_that_stay():
    rules = {"shuffle_caption": True, "keep_tokens": 3, "keep_tokens_separator": "|||"}
    results = {apply("h ||| a, b, c ||| t, u", seed=seed, **rules) for seed in range(200)}
    assert len(results) == 6
    assert all(result.startswith("h, ") and result.endswith(", t, u") for result in results)
    assert {apply("h1, h2, h3, a", seed=seed, **rules) for seed in range(20)} == {"h1, h2, h3, a"}


@pytest.mark.parametrize(
    ("step", "tags"), [(0, "a"), (9, "a"), (10, "a, b"), (25, "a, b, c"), (39, "a, b, c, d"), (40, "a, b, c, d, e")]
)
@pytest.mark.parametrize("warmup", [40, 0.4])
def test_tags_are_added_one_by_one(step, tags, warmup):
    assert apply("a, b, c, d, e", step=step, token_warmup_step=warmup) == tags


def test_the_share_of_a_run_is_rounded_down_to_whole_steps():
    """0.29 * 100 is a little less than 29; 0.001 of 100 steps are none."""
    assert apply("a, b", step=27, token_warmup_step=0.29) == "a"
    assert apply("a, b", step=28, token_warmup_step=0.29) == "a, b"
    assert apply("a, b", token_warmup_step=0.001) == "a, b"


def test_a_warm_up_counts_only_tags_that_may_move():
    assert apply("a, b, c, d", token_warmup_step=10, keep_tokens=2) == "a, b, c"
    assert apply("a, b, c, d", token_warmup_step=10, token_warmup_min=0, keep_tokens=2) == "a, b"
    assert apply("a, b, c", token_warmup_step=10, token_warmup_min=9) == "a, b, c"


def test_the_first_tags_are_chosen_before_they_are_shuffled():
    results = {apply("a, b, c, d", step=5, seed=seed, token_warmup_step=10, shuffle_caption=True) for seed in range(40)}
    assert results == {"a, b", "b, a"}


# Replacements


def test_texts_are_replaced_in_their_order_after_all_other_rules():
    replacements = {"sks": "ohwx", "ohwx dog": "my dog", "no such text": "x"}
    rules = {"caption_prefix": "sks", "caption_suffix": "end", "secondary_separator": ";"}
    assert apply("dog;sks", caption_replacements=replacements, **rules) == "my dog,ohwx end"
    assert apply("a {sks}", enable_wildcard=True, caption_replacements=replacements) == "a ohwx"


def test_one_of_several_replacements_is_chosen_each_time():
    chosen = {apply("a sks, sks", seed=seed, caption_replacements={"sks": ["x", "y"]}) for seed in range(40)}
    assert chosen == {"a x, x", "a y, y"}


def test_an_empty_key_replaces_the_whole_caption_but_not_a_dropped_one():
    replacements = {"": ["a photo of sks", "a picture of sks"], "sks": "ohwx"}
    found = {apply(seed=seed, caption_replacements=replacements) for seed in range(40)}
    assert found == {"a photo of ohwx", "a picture of ohwx"}
    assert apply(caption_replacements=replacements, caption_dropout_rate=1.0) == ""


def test_replacements_do_not_change_what_was_drawn_before():
    rules = {"shuffle_caption": True, "caption_tag_dropout_rate": 0.3, "enable_wildcard": True}
    for seed in range(40):
        replaced = apply("a, {b|c}, d, e", seed=seed, caption_replacements={"zzz": ["x", "y"]}, **rules)
        assert replaced == apply("a, {b|c}, d, e", seed=seed, **rules)
