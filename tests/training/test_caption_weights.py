"""Weights in captions that would not do what their writer means: counted once, before training."""

from pathlib import Path

import pytest

from library.dataset.buckets.aspect_buckets import cover
from library.dataset.records import Dataset, ImageRecord
from library.options.dataset_settings import DatasetSettings, SubsetSettings
from library.training.caption_weights import caption_weight_notices


def datasets_of(*captions: str, repeats: int = 1, **rules) -> tuple[Dataset, ...]:
    subset = SubsetSettings(image_dir=Path("x"), **rules)
    records = tuple(
        ImageRecord(
            dataset=0, subset=0, name=str(number), path=Path(str(number)), size=(64, 64),
            placement=cover((64, 64), (64, 64)), caption=caption, repeats=repeats, is_reg=False,
        )
        for number, caption in enumerate(captions)
    )  # fmt: skip
    return (Dataset(DatasetSettings(subsets=(subset,)), records),)


WEIGHTED = ("a ((cat):1.3)", "a cat (red hat:0.5), outdoors")
PLAIN = (
    "see you at 12:30 (maybe)", "(:3)", "a cat", "hatsune miku (vocaloid)", r"miku \(vocaloid\)", "(smile) [dull]",
    "time 12:30", "(at 12:30 h)",
)  # fmt: skip


def test_weights_that_are_plain_text():
    (notice,) = caption_weight_notices(datasets_of(*WEIGHTED, *PLAIN), weighted_captions=False)
    assert notice == "weights such as (tag:1.3), which are plain text without --weighted_captions: in 2 captions"
    (notice,) = caption_weight_notices(datasets_of(WEIGHTED[0]), weighted_captions=False)
    assert notice.endswith(": in 1 caption")
    assert caption_weight_notices(datasets_of(*PLAIN), weighted_captions=False) == []
    assert caption_weight_notices(datasets_of(*WEIGHTED), weighted_captions=True) == []
    assert caption_weight_notices(datasets_of(*WEIGHTED, repeats=0), weighted_captions=False) == []


@pytest.mark.parametrize(
    ("rules", "is_torn"),
    [
        ({}, False),
        ({"shuffle_caption": True}, True),
        ({"caption_tag_dropout_rate": 0.1}, True),
        ({"token_warmup_step": 0.1}, True),
        ({"shuffle_caption": True, "caption_separator": ";"}, False),
    ],
)
def test_weighted_groups_that_are_torn_apart(rules, is_torn):
    captions = ("a cat, (red hat, blue eyes:1.3)", "[dull, grey] sky", "(one:1.2), two", r"saber \(fate, zero\)")
    notices = caption_weight_notices(datasets_of(*captions, **rules), weighted_captions=True)
    assert [": in 2 captions; " in notice for notice in notices] == ([True] if is_torn else [])
