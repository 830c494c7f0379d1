"""Captions and prompts of which only the beginning would be used: reported once, not cut in silence."""

from collections.abc import Callable, Sequence

from library.dataset.captions.caption_rules import longest_caption
from library.dataset.records import Dataset
from library.models.text_chunks import MOST_CHUNKS, TEXT_PER_CHUNK
from library.wording import counted

Count = Callable[[Sequence[str]], list[int]]
"""Texts -> the number of tokens of each, before anything is cut."""

LIMITS = tuple(chunks * TEXT_PER_CHUNK for chunks in range(1, MOST_CHUNKS + 1))
"""Tokens: what --max_token_length may be."""


def overlong_captions(datasets: Sequence[Dataset], count: Count, limit: int) -> str | None:
    """A report on the captions that are cut at `limit` tokens, or None if there are none. Each image that is used
    counts once, with its caption at its longest."""
    named = [
        (str(record.path), longest_caption(record.caption, dataset.rules_of(record)))
        for dataset in datasets
        for record in dataset.records
        if record.repeats > 0
    ]
    return overlong_texts("caption", named, count, limit)


def overlong_prompts(prompts: Sequence[tuple[str, str]], count: Count) -> str | None:
    """The same for prompts of previews, as (name, text); they may be as long as any caption may."""
    return overlong_texts("prompt", prompts, count, LIMITS[-1])


def overlong_texts(kind: str, texts: Sequence[tuple[str, str]], count: Count, limit: int) -> str | None:
    """
    Args:
        kind: what a text is called
        texts: name and text of each
        limit: tokens
    """
    lengths = count([text for _, text in texts])
    overlong = sum(length > limit for length in lengths)
    if not overlong:
        return None
    longest, name = max(zip(lengths, (name for name, _ in texts), strict=True), key=lambda entry: entry[0])
    return (
        f"longer than {limit} tokens, of which the end is not used: {overlong} of {counted(len(texts), kind)}; "
        f"the longest has {longest} tokens: '{name}'; {_remedy(longest, limit)}"
    )


def _remedy(longest: int, limit: int) -> str:
    if limit >= LIMITS[-1]:
        return "shorten what is longer"
    enough = next((choice for choice in LIMITS if choice >= longest), None)
    if enough is None:
        return f"--max_token_length {LIMITS[-1]} uses more"
    return f"--max_token_length {enough} uses all"
