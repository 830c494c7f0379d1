"""Texts in whatever encoding they come, and what is no text."""

import codecs

import pytest

from library.dataset.captions.text_encodings import DecodedText, decode_texts

RUSSIAN, CHINESE, JAPANESE = "девушка, улыбка, красное платье", "一个女孩, 微笑, 红色连衣裙", "女の子, 笑顔, 赤いドレス"
TEXTS = {
    "cp1251": RUSSIAN,
    "koi8-r": RUSSIAN,
    "gb18030": CHINESE,
    "big5": "一個女孩, 微笑, 紅色洋裝",
    "cp932": JAPANESE,
    "euc-jp": JAPANESE,
    "cp949": "웃는 소녀, 빨간 드레스",
    "cp1250": "dziewczyna, uśmiech, żółta sukienka, łódź",
    "cp1252": "mädchen, lächeln, rotes kleid, grüner hut",
}


def decode(*contents: bytes):
    return decode_texts(contents)


@pytest.mark.parametrize("text", ["a, b", "grüner Hut", RUSSIAN, CHINESE, "", "😀"])
def test_unicode_with_a_mark(text):
    marked = {
        "utf-8": codecs.BOM_UTF8 + text.encode(),
        "utf-16": codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        "utf-32": codecs.BOM_UTF32_LE + text.encode("utf-32-le"),
    }
    for encoding, content in marked.items():
        assert decode(content) == [DecodedText(text, encoding)]
    assert decode(codecs.BOM_UTF16_LE + text.encode("utf-16-le")) == [DecodedText(text, "utf-16")]
    assert decode(text.encode()) == [DecodedText(text, "utf-8")]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["a girl, red hat\r\n", "grüner Hut", f"sks, {CHINESE}, dog", f"{RUSSIAN}\n"])
def test_utf16_without_a_mark_is_told_by_its_zero_bytes(encoding, text):
    assert decode(text.encode(encoding)) == [DecodedText(text, encoding)]


@pytest.mark.parametrize("encoding", TEXTS)
def test_legacy_encodings_are_detected(encoding):
    """What is named may be an extension of the encoding."""
    (decoded,) = decode(TEXTS[encoding].encode(encoding))
    assert decoded is not None
    assert decoded.text == TEXTS[encoding]
    assert decoded.text.encode(decoded.encoding) == TEXTS[encoding].encode(encoding)


def test_files_of_a_folder_help_each_other():
    """One Chinese character alone could be anything; UTF-8 files take no part."""
    alone = decode("貓".encode("big5"))
    together = decode("貓".encode("big5"), "кот".encode(), TEXTS["big5"].encode("big5"), b"cat")
    assert alone[0] is not None
    assert alone[0].text != "貓"
    assert [text.text for text in together if text] == ["貓", "кот", TEXTS["big5"], "cat"]
    assert [text.encoding == "utf-8" for text in together if text] == [False, True, False, True]


def test_a_file_that_does_not_fit_the_others_is_judged_by_itself():
    contents = [f"{number}, {JAPANESE}".encode("cp932") for number in range(9)]
    odd = RUSSIAN.encode("cp1251")
    *others, last = decode(*contents, odd)
    assert {text.encoding for text in others if text} == {"cp932"}
    assert last is not None
    assert last.text == RUSSIAN


WESTERN = [
    "sks chien, forêt, été", "photo d'une fille élégante, cheveux châtains", "sks chien à la plage", "café",
    "fille à côté d’un œuf", "boîte, île, maître", "château, ciel nuageux", "sks dog, Größe, grün, schön",
    "sks perro, niño, montaña", "menina, chão, maçã", "rött hår, blå ögon", "città, perché, più", "één café",
]  # fmt: skip
CENTRAL_EUROPEAN = [
    "piękna dziewczyna", "pies na plaży", "las, zima, śnieg", "morze, góry", "kočka", "pes na pláži", "krásná dívka",
    "muž s brýlemi", "fiú, őszi erdő", "lány, hosszú haj", "szép lány kék ruhában", "erdő, tél, hó", "hlava, úsměv",
]  # fmt: skip


@pytest.mark.parametrize(("encoding", "texts"), [("cp1252", WESTERN), ("cp1250", CENTRAL_EUROPEAN)])
def test_latin_letters_of_west_and_east(encoding, texts):
    contents = [text.encode(encoding) for text in texts]
    assert [decoded.text for content in contents for decoded in decode(content) if decoded] == texts
    assert [decoded.text for decoded in decode(*contents) if decoded] == texts


def test_a_folder_lends_its_encoding_to_what_could_be_western():
    texts = [*CENTRAL_EUROPEAN, "ręka", "černý kůň"]
    assert decode("ręka".encode("cp1250"))[0] == DecodedText("rêka", "cp1252")
    assert [decoded.text for decoded in decode(*(text.encode("cp1250") for text in texts)) if decoded] == texts


def test_russian_is_not_taken_for_western():
    texts = ["кот", "собака на пляже", "а в лесу", "и небо"]
    assert [decoded.text for decoded in decode(*(text.encode("cp1251") for text in texts)) if decoded] == texts


def test_files_in_many_encodings():
    texts = {"cp1251": RUSSIAN, "cp1252": WESTERN[0], "cp932": JAPANESE, "cp949": TEXTS["cp949"], "gb18030": CHINESE}
    for most in texts:
        files = [(encoding, text) for encoding, text in texts.items() for _ in range(9 if encoding == most else 1)]
        decoded = decode(*(text.encode(encoding) for encoding, text in files))
        assert [one.text for one in decoded if one] == [text for _, text in files]


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x40\x00\x00\x00\x40\x08\x02",
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01",
        b"PK\x03\x04\x14\x00\x08\x00caption",
        b"\x00" * 64,
        b"caf\xe9\x01\x02",
        codecs.BOM_UTF16_LE + b"\x00\xd8",
    ],
    ids=["png", "jpeg", "zip", "zeros", "control characters", "half a character"],
)
def test_what_is_no_text(content):
    assert decode(content, b"a, b") == [None, DecodedText("a, b", "utf-8")]


def test_nothing_to_decode():
    assert decode() == []
