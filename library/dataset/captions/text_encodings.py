"""Text of unknown encoding: told with certainty where that is possible, else by a detector."""

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
CERTAIN = frozenset({"utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"})
"""Encodings that are told by a mark or by zero bytes, or that nothing else looks like; all others are guessed."""

_WESTERN = "cp1252"
_LATIN = frozenset({"cp1250", "cp1252", "cp1254", "cp1257", "cp1258"})
_MULTI_BYTE = frozenset({"big5hkscs", "cp932", "cp949", "euc_jis_2004", "euc_kr", "gb18030", "shift_jis_2004"})
_LETTERS = "[àâäæçèéêëîïôöœùûüÿñáíóúßåøãõìòÀÂÄÆÇÈÉÊËÎÏÔÖŒÙÛÜŸÑÁÍÓÚÅØÃÕÌÒ]"
"""Of French, German, Spanish, Portuguese, Italian, Dutch and Nordic languages, beyond ASCII."""
_WESTERN_WORD = re.compile(rf"[àèéòóôöåæÀÈÉÒÓÔÖÅÆ]|(?=.*[a-zA-Z])(?!.*{_LETTERS}{{3}})(?:[a-zA-Z]|{_LETTERS})+")
"""A letter that may be a word, or ASCII letters with at most two others in a row: Cyrillic and Greek have whole words
of others."""
_OTHER_SIGNS = frozenset("‘’‚“”„–—…€°«»‹›¿¡·´ªº§©®™²½×\xa0")
_WORD = re.compile(r"[^\W\d_]+")

_CLEARLY = 1.6
"""Times the confidence of another answer. French and German captions are taken for Central European ones with up to
1.4, Polish, Czech and Hungarian ones with 1.7 or more."""
_ENOUGH_BYTES, _ENOUGH_FOR_RELATED = 4, 8
"""Beyond ASCII: fewer tell little. Two encodings of Chinese, or of Latin letters, are harder to tell apart."""


@dataclass(frozen=True)
class DecodedText:
    text: str
    encoding: str
    """As Python names it; 'utf-8' with and without a byte-order mark."""


def decode_texts(contents: Sequence[bytes]) -> list[DecodedText | None]:
    """The texts that files hold; None for what is no text.

    UTF-8 with and without a byte-order mark is recognised, UTF-16 with one or with the zero bytes that it gives Latin
    letters, UTF-32 with one. All other contents are taken to share one legacy encoding, such as cp1251 or gb18030,
    since the files of a folder mostly come from one program, and since a few words are too little to tell it from;
    but one that clearly is in another is read so.
    """
    decoded = [_decode_unicode(content) for content in contents]
    guesses = {
        place: _guess(content)
        for place, content in enumerate(contents)
        if decoded[place] is None and _NOT_IN_TEXT.isdisjoint(content)
    }
    shared = _vote(guesses.values())
    for place, guess in guesses.items():
        decoded[place] = _decode_legacy(contents[place], guess, shared)
    return decoded


def _decode_unicode(content: bytes) -> DecodedText | None:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return decode_text_as(content, encoding)
    if b"\0" in content:
        return _decode_utf16_without_mark(content)
    return decode_text_as(content, "utf-8")


def _decode_utf16_without_mark(content: bytes) -> DecodedText | None:
    """Latin letters, blanks and commas leave one byte of two zero: the first, or the second."""
    is_little = content[1::2].count(0) >= content[::2].count(0)
    decoded = decode_text_as(content, "utf-16-le" if is_little else "utf-16-be")
    return decoded if decoded is not None and all(map(_is_of_text, decoded.text)) else None


def _is_of_text(character: str) -> bool:
    return character in "\t\n\r" or unicodedata.category(character) not in ("Cc", "Cn", "Co", "Cs")


@dataclass(frozen=True)
class _Guess:
    """What a file says about its encoding by itself."""

    encoding: str
    confidences: Mapping[str, float]
    """Of all encodings that it may be in."""
    num_telling: int
    """Bytes beyond ASCII."""
    is_western: bool
    """It has letters of Western European languages, in places where they may stand."""

    def outdoes(self, shared: str) -> bool:
        """Whether it is to be believed, although most files of the folder are in another encoding."""
        if self.encoding == _WESTERN:
            return self.is_western and shared not in _LATIN
        if shared == _WESTERN:
            return True
        is_clear = self.confidences[self.encoding] >= _CLEARLY * self.confidences.get(shared, 0)
        are_related = all((self.encoding in family) == (shared in family) for family in (_LATIN, _MULTI_BYTE))
        return is_clear and self.num_telling >= (_ENOUGH_FOR_RELATED if are_related else _ENOUGH_BYTES)


def _guess(content: bytes) -> _Guess:
    import chardet  # loads its language models, which few runs need

    found = chardet.detect_all(
        content,
        ignore_threshold=True,
        encoding_era=chardet.EncodingEra.MODERN_WEB,
        prefer_superset=True,
        compat_names=False,
    )
    confidences = {str(one["encoding"]): one["confidence"] for one in reversed(found)}
    best = str(found[0]["encoding"])
    num_telling = sum(byte > 127 for byte in content)
    is_clear = best in _LATIN and confidences[best] >= _CLEARLY * confidences.get(_WESTERN, 0)
    may_be_western = best == _WESTERN or not (is_clear or best in _MULTI_BYTE)
    western = decode_text_as(content, _WESTERN) if may_be_western else None
    if western is None or not _reads_as_western(western.text):
        return _Guess(best, confidences, num_telling, is_western=False)
    return _Guess(_WESTERN, confidences, num_telling, is_western=not "".join(_WORD.findall(western.text)).isascii())


def _reads_as_western(text: str) -> bool:
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    signs = _WORD.sub("", text)
    return all(map(_WESTERN_WORD.fullmatch, words)) and all(sign.isascii() or sign in _OTHER_SIGNS for sign in signs)


def _vote(guesses: Iterable[_Guess]) -> str:
    """What most of these are in, each with as many votes as it has bytes beyond ASCII."""
    votes: Counter[str] = Counter()
    for guess in guesses:
        votes[guess.encoding] += guess.num_telling
    return max(votes, key=votes.__getitem__, default=_WESTERN)


def _decode_legacy(content: bytes, guess: _Guess, shared: str) -> DecodedText:
    candidates = [guess.encoding, shared] if guess.outdoes(shared) else [shared, guess.encoding]
    candidates.append("latin-1")  # in which every byte is a character
    decoded = (decode_text_as(content, encoding) for encoding in candidates)
    return next(text for text in decoded if text is not None)


def decode_text_as(content: bytes, encoding: str) -> DecodedText | None:
    """None for what is not in this encoding."""
    try:
        return DecodedText(content.decode(encoding), "utf-8" if encoding == "utf-8-sig" else encoding)
    except (UnicodeDecodeError, LookupError):
        return None
