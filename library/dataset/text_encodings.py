"""Text of unknown encoding: told with certainty where that is possible, else by a detector."""

import codecs
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_IN_TEXT = frozenset(range(32)) - frozenset(b"\t\n\v\f\r\x1a")
"""Bytes of pictures and archives; 0x1A ended text files under DOS."""
MOST_VOTERS = 200
"""Files that are asked for their encoding; each takes a millisecond."""


@dataclass(frozen=True)
class DecodedText:
    text: str
    encoding: str
    """As Python names it; 'utf-8' with and without a byte-order mark."""


def decode_texts(contents: Sequence[bytes]) -> list[DecodedText | None]:
    """The texts that files hold; None for what is no text.

    UTF-8 with and without a byte-order mark is recognised, UTF-16 with one or with the zero bytes that it gives Latin
    letters, UTF-32 with one. All other contents are taken to share one legacy encoding, such as cp1251 or gb18030,
    since the files of a folder mostly come from one program, and since a few words are too little to tell it from.
    """
    decoded = [_decode_unicode(content) for content in contents]
    others = [content for content, text in zip(contents, decoded, strict=True) if text is None and _may_be(content)]
    if not others:
        return decoded
    shared = _vote(others)
    return [
        _decode_legacy(content, shared) if text is None and _may_be(content) else text
        for content, text in zip(contents, decoded, strict=True)
    ]


def _decode_unicode(content: bytes) -> DecodedText | None:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return _try(content, encoding)
    if b"\0" in content:
        return _decode_utf16_without_mark(content)
    return _try(content, "utf-8")


def _decode_utf16_without_mark(content: bytes) -> DecodedText | None:
    """Latin letters, blanks and commas leave one byte of two zero: the first, or the second."""
    is_little = content[1::2].count(0) >= content[::2].count(0)
    decoded = _try(content, "utf-16-le" if is_little else "utf-16-be")
    return decoded if decoded is not None and all(map(_is_of_text, decoded.text)) else None


def _is_of_text(character: str) -> bool:
    return character in "\t\n\r" or unicodedata.category(character) not in ("Cc", "Cn", "Co", "Cs")


def _may_be(content: bytes) -> bool:
    """Whether this can be text in a legacy encoding."""
    return _NOT_IN_TEXT.isdisjoint(content)


def _vote(contents: Sequence[bytes]) -> str:
    """What most of these are in, each of the most telling ones with as many votes as it has bytes beyond ASCII."""
    votes: Counter[str] = Counter()
    weighted = sorted(((sum(byte > 127 for byte in content), content) for content in contents), reverse=True)
    for weight, content in weighted[:MOST_VOTERS]:
        votes[_detect(content)] += weight
    return votes.most_common(1)[0][0]


def _detect(content: bytes) -> str:
    import chardet  # loads its language models, which few runs need

    found = chardet.detect(
        content, encoding_era=chardet.EncodingEra.MODERN_WEB, prefer_superset=True, compat_names=False
    )
    return str(found["encoding"])


def _decode_legacy(content: bytes, shared: str) -> DecodedText:
    own = _try(content, shared) or _try(content, _detect(content))
    return own or DecodedText(content.decode("latin-1"), "latin-1")  # in which every byte is a character


def _try(content: bytes, encoding: str) -> DecodedText | None:
    try:
        return DecodedText(content.decode(encoding), "utf-8" if encoding == "utf-8-sig" else encoding)
    except (UnicodeDecodeError, LookupError):
        return None
