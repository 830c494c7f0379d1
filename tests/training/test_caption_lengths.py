"""Captions that are cut are reported once, with their number, the longest and the remedy."""

from pathlib import Path

import pytest

from library.dataset.buckets.aspect_buckets import Placement
from library.dataset.records import Dataset, ImageRecord
from library.options.dataset_settings import DatasetSettings, SubsetSettings
from library.training.caption_lengths import overlong_captions, overlong_prompts


def count_words(texts):
    return [len(text.split()) for text in texts]


def dataset(*captions: str, repeats: int = 1, **rules) -> Dataset:
    """Images 0.png, 1.png, ... of one subset."""
    placement = Placement((64, 64), (64, 64), (0, 0))
    records = tuple(
        ImageRecord(
            0, 0, f"{number}.png", Path(f"folder/{number}.png"), (64, 64), placement, caption, repeats, is_reg=False
        )
        for number, caption in enumerate(captions)
    )
    return Dataset(DatasetSettings(subsets=(SubsetSettings(**rules),)), records)


def words(count: int) -> str:
    return " ".join(["cat"] * count)


def report(*datasets: Dataset, limit: int = 75) -> str | None:
    return overlong_captions(datasets, count_words, limit)


@pytest.mark.parametrize("datasets", [(), (dataset(),), (dataset(words(75), ""),)])
def test_nothing_is_said_when_nothing_is_cut(datasets):
    assert report(*datasets) is None


def test_one_report_over_all_datasets():
    found = report(dataset(words(76), words(80), "", repeats=10), dataset(words(3), words(75), words(120)))
    assert found.startswith("longer than 75 tokens, of which the end is not used: 3 of 6 captions; ")
    assert f"120 tokens: '{Path('folder/2.png')}'" in found


@pytest.mark.parametrize(
    ("limit", "longest", "remedy"),
    [
        (75, 76, "--max_token_length 150 uses all"),
        (75, 150, "--max_token_length 150 uses all"),
        (75, 151, "--max_token_length 225 uses all"),
        (150, 225, "--max_token_length 225 uses all"),
        (75, 226, "--max_token_length 225 uses more"),
        (150, 226, "--max_token_length 225 uses more"),
        (225, 226, "shorten what is longer"),
    ],
)
def test_the_remedy_fits(limit, longest, remedy):
    found = report(dataset(words(longest)), limit=limit)
    assert remedy in found
    assert f"the longest has {longest} tokens" in found
    assert ("--max_token_length" in found) == (limit < 225)


@pytest.mark.parametrize(
    ("rules", "caption", "length"),
    [
        ({"caption_prefix": words(5), "caption_suffix": words(2)}, words(70), 77),
        ({}, words(70) + "\n" + words(20), None),
        ({"caption_dropout_rate": 1.0, "caption_dropout_every_n_epochs": 1}, words(80), 80),
        ({"caption_tag_dropout_rate": 1.0}, ", ".join(["cat"] * 80), 80),
        ({"secondary_separator": ";", "caption_separator": " , "}, ";".join(["cat"] * 50), 99),
    ],
)
def test_captions_count_at_their_longest(rules, caption, length):
    found = report(dataset(caption, **rules))
    assert (found is None) == (length is None)
    assert length is None or f"the longest has {length} tokens" in found


def test_images_that_are_not_used_do_not_count():
    assert report(dataset(words(100), repeats=0)) is None


def test_prompts_may_be_as_long_as_any_caption():
    assert overlong_prompts([("prompt 1", words(225))], count_words) is None
    found = overlong_prompts([("prompt 1", words(9)), ("prompt 2", words(300))], count_words)
    assert found.startswith("longer than 225 tokens, of which the end is not used: 1 of 2 prompts; ")
    assert "300 tokens: 'prompt 2'" in found
