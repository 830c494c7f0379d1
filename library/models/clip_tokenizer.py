"""CLIP's tokenizer without any download, and captions to tokens."""

import gzip
import importlib.metadata
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ftfy
import torch
from tokenizers import Tokenizer
from transformers import CLIPTokenizer

from library.diffusion.conditioning import TokenizedCaptions
from library.errors import UserError
from library.models.text_chunks import CHUNK_LENGTH, MOST_CHUNKS, TEXT_PER_CHUNK, in_chunks
from library.models.weighted_captions import split_by_weight

logger = logging.getLogger(__name__)

_BPE_PACKAGE = "openai-clip"
_BPE_FILE = "bpe_simple_vocab_16e6.txt.gz"
_NUM_MERGES = 48894
_NUM_WORDS = 2 * 256 + _NUM_MERGES + 2
"""Each byte within and at the end of a word, what pairs are joined to, start and end."""
_VOCABULARY_FILES = ("tokenizer.json", "vocab.json")
_COUNTED_AT_ONCE = 1000
"""Captions. What the tokenizer says of them takes far more memory than they do."""


def standard_clip_tokenizer(
    cache_dir: Path | None = None, folder: str = "openai_clip-vit-large-patch14"
) -> CLIPTokenizer:
    """The tokenizer of every released Stable Diffusion, from the byte-pair table in the package openai-clip.

    The package's data file is read directly; the package itself is never imported.

    Args:
        cache_dir: where tokenizers are kept: the one in its `folder` is used, or written there if there is none.
        folder: by custom the tokenizer's hub id, with _ for /.

    Raises:
        FileNotFoundError: the package is not installed.
        UserError: the tokenizer in `cache_dir` is damaged.
    """
    if cache_dir is None:
        return _build_tokenizer()
    kept = cache_dir / folder
    if not kept.exists():
        built = _build_tokenizer()
        _keep(built, kept)
        return built
    try:
        tokenizer = read_tokenizer(kept)
        if len(tokenizer) != _NUM_WORDS:
            raise ValueError(f"it has {len(tokenizer)} words instead of {_NUM_WORDS}")
    except ValueError as error:
        raise UserError(
            f"--tokenizer_cache_dir '{cache_dir}': the tokenizer in its folder '{folder}' is damaged: {error}; "
            "delete that folder, and it will be written anew"
        ) from None
    return tokenizer


def read_tokenizer(folder: Path) -> CLIPTokenizer:
    """A tokenizer as transformers saves it, now or in older versions.

    Raises:
        ValueError: it is missing or damaged.
    """
    if not any((folder / name).is_file() for name in _VOCABULARY_FILES):  # transformers would make one without words
        raise ValueError(f"it holds neither {' nor '.join(_VOCABULARY_FILES)}")
    try:
        return _without_other_special_words(CLIPTokenizer.from_pretrained(folder, local_files_only=True))
    except Exception as error:  # of many kinds: json's, KeyError, and plain ones of the tokenizers' own library
        raise ValueError(f"{type(error).__name__}: {str(error).strip()}") from error


def _without_other_special_words(tokenizer: CLIPTokenizer) -> CLIPTokenizer:
    """Folders of SD 2.x and SDXL name "!" for filling up. It would be cut out of captions as a word of its own, which
    no single file does."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    kept = (tokenizer.bos_token, tokenizer.eos_token)
    state["added_tokens"] = [entry for entry in state["added_tokens"] if entry["content"] in kept]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    return tokenizer


def _keep(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Writes the tokenizer for later runs, which can do without: what stands in the way is only reported."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            written = Path(temporary, folder.name)
            tokenizer.save_pretrained(written)
            for file in written.iterdir():
                with file.open("rb+") as opened:
                    os.fsync(opened.fileno())
            written.rename(folder)
    except OSError as error:
        if not folder.exists():  # else another process has just written it
            logger.warning("--tokenizer_cache_dir '%s' cannot be written: %s", folder.parent, error.strerror or error)


def _build_tokenizer() -> CLIPTokenizer:
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
    """Captions -> tokens of one text encoder, in chunks; can be sent to worker processes."""

    def __init__(self, tokenizer: CLIPTokenizer, pads_with_end: bool = True, chunks: int = 1, weighted: bool = False):
        """
        Args:
            pads_with_end: what follows the end token: the same again (SD 1.x, SDXL's first encoder) or 0 (SD 2.x,
                SDXL's second).
            chunks: of 75 tokens of text each; what goes beyond the last is cut.
            weighted: captions are in the syntax of weighted_captions.py.
        """
        self._tokenizer = tokenizer
        self._pads_with_end = pads_with_end
        self._chunks = chunks
        self._weighted = weighted

    @property
    def limit(self) -> int:
        """Tokens of text; what goes beyond is cut."""
        return self._chunks * TEXT_PER_CHUNK

    def __call__(self, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Ids, int64 (captions, chunks, 77), and weights, float32 of the same shape; None unless `weighted`."""
        shape = (len(captions), self._chunks, CHUNK_LENGTH)
        tokens = self._weighted_tokens(captions)
        ids = torch.tensor([self._chunked_ids(of_caption) for of_caption in tokens], dtype=torch.int64)
        if not self._weighted:
            return ids.view(shape), None
        weights = [
            in_chunks([weight for _, weight in of_caption], self._chunks, 1.0, 1.0, 1.0) for of_caption in tokens
        ]
        return ids.view(shape), torch.tensor(weights, dtype=torch.float32).view(shape)

    def count(self, captions: Sequence[str]) -> list[int]:
        """Tokens of each caption's text before anything is cut; the syntax for weights does not count."""
        starts = range(0, len(captions), _COUNTED_AT_ONCE)
        parts = (self._weighted_tokens(captions[start : start + _COUNTED_AT_ONCE]) for start in starts)
        return [len(tokens) for part in parts for tokens in part]

    def understanding_weights(self, chunks: int) -> "CaptionTokenizer":
        """One for the same encoder that understands weights and makes so many chunks."""
        return CaptionTokenizer(self._tokenizer, self._pads_with_end, chunks, weighted=True)

    def _weighted_tokens(self, captions: Sequence[str]) -> list[list[tuple[int, float]]]:
        """Id and weight of each token of each caption's text. Fragments of different weights are tokenised apart."""
        fragments = [split_by_weight(caption) if self._weighted else [(caption, 1.0)] for caption in captions]
        texts = [ftfy.fix_text(text) for of_caption in fragments for text, _ in of_caption]
        if not texts:
            return []
        encoded = iter(self._tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"])
        return [[(token, weight) for _, weight in of_caption for token in next(encoded)] for of_caption in fragments]

    def _chunked_ids(self, tokens: Sequence[tuple[int, float]]) -> list[list[int]]:
        start, end = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        filling = end if self._pads_with_end else 0
        return in_chunks([token for token, _ in tokens], self._chunks, start, end, filling)


@dataclass(frozen=True)
class TokenizeForEach:
    """Captions -> tokens for each text encoder; all have as many chunks. Apart from the models, so that loader
    processes are sent, and import, the tokenizers only."""

    tokenizers: tuple[CaptionTokenizer, ...]

    @property
    def limit(self) -> int:
        """Tokens of a caption's text; what goes beyond is cut."""
        return self.tokenizers[0].limit

    def __call__(self, captions: Sequence[str]) -> TokenizedCaptions:
        tokenized = [tokenizer(captions) for tokenizer in self.tokenizers]
        weights = tuple(weights for _, weights in tokenized if weights is not None)
        return TokenizedCaptions(tuple(ids for ids, _ in tokenized), weights or None)

    def count(self, captions: Sequence[str]) -> list[int]:
        """Tokens of each caption's text before anything is cut, in the encoder that makes the most of it."""
        of_each = [tokenizer.count(captions) for tokenizer in self.tokenizers]
        return [max(counts) for counts in zip(*of_each, strict=True)]

    def prompts(self, texts: Sequence[str]) -> TokenizedCaptions:
        """As for pictures that are drawn: see `for_prompts`."""
        return self.for_prompts(texts)(texts)

    def for_prompts(self, texts: Sequence[str]) -> "TokenizeForEach":
        """Understands weights, and makes as many chunks as the longest text needs: no fewer than for captions, so that
        the model is shown what it knows, and no more than three."""
        chunks = self.limit // TEXT_PER_CHUNK
        needed = -(-max(self._understanding_weights(chunks).count(texts), default=0) // TEXT_PER_CHUNK)
        return self._understanding_weights(max(chunks, min(needed, MOST_CHUNKS)))

    def _understanding_weights(self, chunks: int) -> "TokenizeForEach":
        return TokenizeForEach(tuple(tokenizer.understanding_weights(chunks) for tokenizer in self.tokenizers))
