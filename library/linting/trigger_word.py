"""The word that is to call what is trained: guessed if it is not named, and looked for in the captions."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from library.linting import kinds
from library.linting.inventory import LintedCaption, Role
from library.linting.kinds import Finding
from library.linting.tag_spelling import as_compared

GUESSED_FROM = 0.9
"""Share of the training captions that a guessed trigger word must be in."""
_REFUTED_FROM = 0.5
"""Share of the regularisation captions that it must not be in: then it names the class, such as 'dog'."""


@dataclass(frozen=True)
class Trigger:
    word: str
    is_guessed: bool


def find_trigger(captions: Sequence[LintedCaption], given: str | None) -> Trigger | None:
    """What is given, or else class words or the usual first tag, if nearly all training captions have it."""
    if given:
        return Trigger(given, is_guessed=False)
    of_training = [caption for caption in captions if caption.role is not Role.REGULARISATION and caption.text]
    of_regularisation = [caption for caption in captions if caption.role is Role.REGULARISATION]
    for word in _candidates(of_training):
        is_usual = _share_with(word, of_training) >= GUESSED_FROM
        if is_usual and _share_with(word, of_regularisation) < _REFUTED_FROM:
            return Trigger(word, is_guessed=True)
    return None


def trigger_findings(captions: Sequence[LintedCaption], trigger: Trigger) -> Iterator[Finding]:
    for caption in captions:
        has_it = _has(trigger.word, caption)
        details = {"trigger": trigger.word}
        if caption.role is Role.REGULARISATION and has_it:
            yield Finding(kinds.TRIGGER_IN_REGULARISATION, caption.files, _shortened(caption.text), details)
        if caption.role is not Role.REGULARISATION and not has_it and caption.text:
            yield Finding(kinds.TRIGGER_MISSING, caption.files, _shortened(caption.text), details)


def _candidates(captions: Sequence[LintedCaption]) -> list[str]:
    """Class words as a whole, then each, then the most frequent first tag."""
    classes = [word for word, _ in Counter(caption.rules.class_tokens or "" for caption in captions).most_common()]
    words = [part for phrase in classes for part in (phrase, *phrase.split()[:1])]
    first_tags = Counter(next((tag for tag in caption.tags if tag), "") for caption in captions)
    return [word for word in (*words, *(tag for tag, _ in first_tags.most_common(1))) if word]


def _share_with(word: str, captions: Sequence[LintedCaption]) -> float:
    return sum(_has(word, caption) for caption in captions) / max(1, len(captions))


def _has(word: str, caption: LintedCaption) -> bool:
    """As whole words, in large or small letters, with blanks or underscores."""
    return re.search(rf"(?<!\w){re.escape(as_compared(word))}(?!\w)", as_compared(caption.as_used)) is not None


def _shortened(text: str, length: int = 80) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
