"""Tags that mean the same, and those that only look so."""

import pytest

from library.linting.tag_spelling import similar_tags


@pytest.mark.parametrize(
    ("counts", "is_slip"),
    [
        ({"long hair": 40, "long_hair": 3}, False),
        ({"t-shirt": 5, "t shirt": 4}, False),
        ({"smile": 10, "smiles": 2}, False),
        ({"hand up": 10, "hands up": 2}, False),
        ({"name (series)": 8, "name \\(series\\)": 3}, False),
        ({"looking at viewer": 90, "lookign at viewer": 2}, True),
        ({"outdoors": 44, "outdors": 1}, True),
        ({"brown hair": 90, "browm hair": 1}, True),
        ({"blue eyes": 80, "bluee eyes": 16}, True),
    ],
)
def test_the_same(counts, is_slip):
    found = similar_tags(counts)
    assert [(dict(one.spellings), one.is_slip) for one in found] == [(counts, is_slip)]
    assert found[0].spellings[0] == max(counts.items(), key=lambda entry: entry[1])


@pytest.mark.parametrize(
    "counts",
    [
        {"1girl": 90, "2girls": 3},
        {"4koma": 90, "3koma": 1},
        {"cat ears": 90, "rat ears": 1},  # first letters are seldom wrong
        {"shirt": 90, "skirt": 1},
        {"dress": 90, "class": 1},
        {"outdoors": 44, "outdors": 9},  # too frequent for a slip
        {"long hair": 10, "short hair": 10},
        {"a man walks his dog along the river at dusk": 10, "a man walks his dog along the river at duck": 1},
    ],
)
def test_different(counts):
    assert similar_tags(counts) == []


def test_the_most_frequent_come_first():
    found = similar_tags({"b c": 5, "b_c": 1, "long hair": 50, "long_hair": 4})
    assert [one.spellings[0] for one in found] == [("long hair", 50), ("b c", 5)]
