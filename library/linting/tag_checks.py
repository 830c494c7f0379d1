"""Findings about the words of captions, over the whole dataset."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from library.linting import kinds
from library.linting.inventory import LintedCaption
from library.linting.kinds import Finding
from library.linting.tag_spelling import as_compared, similar_tags
from library.wording import counted

_SHORTEST_BRACKETED = 4
"""Letters: shorter tags with brackets are faces, such as :) and ;("""
_BRACKETS = {")": "(", "]": "[", "}": "{"}


def tag_findings(captions: Sequence[LintedCaption]) -> Iterator[Finding]:
    for caption in captions:
        yield from _about_caption(caption)
    yield from _about_spelling(captions)


def tidied(caption: LintedCaption) -> str | None:
    """The caption without empty and repeated tags; None if there are none, or if they may be meant.

    Captions with wildcards, marks or several lines are left alone: there, a tag may be written twice with reason.
    """
    if not _is_plain_list(caption):
        return None
    tags = caption.tags
    kept = list({as_compared(tag): tag for tag in reversed(tags) if tag}.values())[::-1]
    if len(kept) == len(tags):
        return None
    separator = caption.rules.caption_separator
    return (separator if separator.endswith((" ", "\n")) else f"{separator} ").join(kept)


def _about_caption(caption: LintedCaption) -> Iterator[Finding]:
    if _is_plain_list(caption):
        counts = Counter(as_compared(tag) for tag in caption.tags if tag)
        repeated = [tag for tag, count in counts.items() if count > 1]
        if repeated:
            yield Finding(kinds.TAG_REPEATED, caption.files, _quoted(repeated), {"tags": repeated})
        empty = sum(not tag for tag in caption.tags)
        if empty and any(caption.tags):
            separator = caption.rules.caption_separator
            text = f"{counted(empty, 'time')} '{separator}'"
            yield Finding(kinds.TAG_STRAY, caption.files, text, {"separators": empty})
    bracket = _unmatched_bracket([tag for tag in caption.tags if len(tag) >= _SHORTEST_BRACKETED])
    if bracket:
        yield Finding(kinds.TAG_BRACKETS, caption.files, f"'{bracket}' in: {caption.text}", {"bracket": bracket})


def _is_plain_list(caption: LintedCaption) -> bool:
    rules = caption.rules
    marks = [mark for mark in (rules.keep_tokens_separator, rules.secondary_separator) if mark]
    has_wildcards = rules.enable_wildcard and "{" in caption.text
    return "\n" not in caption.text and not has_wildcards and not any(mark in caption.text for mark in marks)


def _unmatched_bracket(tags: Sequence[str]) -> str | None:
    """The first bracket without a counterpart. Brackets that a backslash makes letters come in pairs, too."""
    open_brackets: list[str] = []
    for letter in "".join(tags):
        if letter in _BRACKETS.values():
            open_brackets.append(letter)
        elif letter in _BRACKETS and (not open_brackets or open_brackets.pop() != _BRACKETS[letter]):
            return letter
    return open_brackets[0] if open_brackets else None


def _about_spelling(captions: Sequence[LintedCaption]) -> Iterator[Finding]:
    tags = [{tag.casefold() for tag in caption.tags if tag} for caption in captions]
    for similar in similar_tags(Counter(tag for of_caption in tags for tag in of_caption)):
        text = ", ".join(f"'{tag}' ({count})" for tag, count in similar.spellings)
        rarer = {tag for tag, _ in similar.spellings[1:]}
        files = [caption.files for caption, own in zip(captions, tags, strict=True) if rarer & own]
        what = "a slip of the pen?" if similar.is_slip else "the same thing?"
        yield Finding(
            kinds.TAG_SIMILAR,
            tuple(file for of_caption in files for file in of_caption),
            f"{text}: {what}",
            {"tags": dict(similar.spellings)},
        )


def _quoted(tags: Iterable[str]) -> str:
    return ", ".join(f"'{tag}'" for tag in tags)
