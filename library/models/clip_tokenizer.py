"""CLIP's tokenizer without any download, and captions to token ids."""

import gzip
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ftfy
import torch
from transformers import CLIPTokenizer

CHUNK_LENGTH = 77
"""Tokens a CLIP text encoder takes at once: start, 75 of text, end."""

_BPE_PACKAGE = "openai-clip"
_BPE_FILE = "bpe_simple_vocab_16e6.txt.gz"
_NUM_MERGES = 48894


def standard_clip_tokenizer() -> CLIPTokenizer:
    """The tokenizer of every released Stable Diffusion, from the byte-pair table in the package openai-clip.

    The package's data file is read directly; the package itself is never imported.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    merges = _read_merges(_locate_bpe_table())
    base = [symbol for _, symbol in sorted(_byte_symbols().items(), key=_clip_order)]
    words = base + [symbol + "</w>" for symbol in base] + ["".join(pair) for pair in merges]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CHUNK_LENGTH)


def _locate_bpe_table() -> Path:
    try:
        files = importlib.metadata.files(_BPE_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _BPE_FILE:
            return Path(str(file.locate()))
    raise FileNotFoundError(
        f"the package {_BPE_PACKAGE}, which holds CLIP's vocabulary, is not installed: pip install {_BPE_PACKAGE}"
    )


def _read_merges(table: Path) -> list[tuple[str, str]]:
    """The pairs that are joined, most frequent first; the file's first line is a header."""
    with gzip.open(table, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : _NUM_MERGES + 1]
    pairs = [line.split() for line in lines]
    return [(first, second) for first, second in pairs]


def _byte_symbols() -> dict[int, str]:
    """Byte -> the printable character that stands for it (byte-level BPE of GPT-2): printable bytes stand for
    themselves, the others for the characters from 256 on."""
    symbols = {byte: chr(byte) for byte in range(256) if _is_printable(byte)}
    for byte in range(256):
        if byte not in symbols:
            symbols[byte] = chr(256 + sum(1 for other in range(byte) if not _is_printable(other)))
    return symbols


def _is_printable(byte: int) -> bool:
    return 33 <= byte <= 126 or 161 <= byte <= 172 or 174 <= byte <= 255


def _clip_order(entry: tuple[int, str]) -> tuple[bool, int]:
    """CLIP numbers printable bytes first, then the others."""
    byte, _ = entry
    return (not _is_printable(byte), byte)


class CaptionTokenizer:
    """Captions -> token ids, padded to the encoder's length; can be sent to worker processes."""

    def __init__(self, tokenizer: CLIPTokenizer, length: int = CHUNK_LENGTH):
        self._tokenizer = tokenizer
        self._length = length

    def __call__(self, captions: Sequence[str]) -> torch.Tensor:
        """int64 (captions, 77). Longer captions are cut."""
        texts = [ftfy.fix_text(caption) for caption in captions]
        encoded = self._tokenizer(
            texts, padding="max_length", truncation=True, max_length=self._length, return_tensors="pt"
        )
        return encoded["input_ids"]


@dataclass(frozen=True)
class TokenizeForEach:
    """Captions -> token ids for each text encoder. Apart from the models, so that loader processes are sent, and
    import, the tokenizers only."""

    tokenizers: tuple[CaptionTokenizer, ...]

    def __call__(self, captions: Sequence[str]) -> tuple[torch.Tensor, ...]:
        return tuple(tokenizer(captions) for tokenizer in self.tokenizers)
