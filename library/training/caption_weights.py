"""Weights in captions that would not do what their writer means."""

import re
from collections.abc import Sequence

from library.dataset.records import Dataset
from library.options.dataset_settings import SubsetSettings
from library.wording import counted

_WEIGHT = re.compile(r"(?<=[^\s(]):\s*\d*\.?\d+\s*\)")
"""(text:1.3)"""
_GROUP = re.compile(r"(?<!\\)\([^()]*\)|(?<!\\)\[[^\[\]]*\]")


def caption_weight_notices(datasets: Sequence[Dataset], weighted_captions: bool) -> list[str]:
    """One notice for each trap, with the number of captions that fall into it."""
    captions = [
        (record.caption, dataset.rules_of(record))
        for dataset in datasets
        for record in dataset.records
        if record.repeats
    ]
    if not weighted_captions:
        count = sum(bool(_WEIGHT.search(caption)) for caption, _ in captions)
        if not count:
            return []
        what = "weights such as (tag:1.3), which are plain text without --weighted_captions"
        return [f"{what}: in {counted(count, 'caption')}"]
    count = sum(_is_torn(caption, rules) for caption, rules in captions)
    if not count:
        return []
    return [
        "weighted groups of several tags, such as (red hat, blue eyes:1.3), which shuffling, tag dropout and tag "
        f"warm-up take apart, so that the weights no longer hold: in {counted(count, 'caption')}; weight each tag by "
        "itself"
    ]


def _is_torn(caption: str, rules: SubsetSettings) -> bool:
    return rules.takes_tags_apart and any(rules.caption_separator in group for group in _GROUP.findall(caption))
