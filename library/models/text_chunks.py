"""Long captions: CLIP takes 77 tokens at once, so that captions are cut into chunks, each encoded on its own."""

from collections.abc import Sequence
from typing import TypeVar

import torch

CHUNK_LENGTH = 77
"""Tokens a CLIP text encoder takes at once: start, 75 of text, end."""
TEXT_PER_CHUNK = CHUNK_LENGTH - 2
MOST_CHUNKS = 3

Value = TypeVar("Value")


def in_chunks(values: Sequence[Value], chunks: int, start: Value, end: Value, filling: Value) -> list[list[Value]]:
    """The text's first 75 * `chunks` values, in lists of 77: start, up to 75 of text, end, filling."""
    cuts = range(0, TEXT_PER_CHUNK * chunks, TEXT_PER_CHUNK)
    pieces = [values[cut : cut + TEXT_PER_CHUNK] for cut in cuts]
    return [[start, *piece, end, *[filling] * (TEXT_PER_CHUNK - len(piece))] for piece in pieces]


def flatten_chunks(ids: torch.Tensor) -> torch.Tensor:
    """(captions, chunks, 77) -> (captions * chunks, 77), as the encoder takes them."""
    return ids.flatten(0, 1)


def join_chunks(states: torch.Tensor, weights: torch.Tensor | None, chunks: int) -> torch.Tensor:
    """Encoded chunks -> one row of states for each caption, as the U-Net takes them.

    Each token's state is multiplied by its weight. The states are not brought back to their mean afterwards.

    Args:
        states: (captions * chunks, 77, width)
        weights: (captions, chunks, 77); None = all 1
        chunks: of each caption

    Returns:
        (captions, chunks * 75 + 2, width) of the states' dtype: the first chunk's start, the text of all chunks, the
        last chunk's last state.
    """
    by_caption = states.view(-1, chunks, *states.shape[1:])
    if weights is not None:
        by_caption = (by_caption * weights.to(states.device).unsqueeze(-1)).to(states.dtype)
    start, text, end = by_caption[:, 0, :1], by_caption[:, :, 1:-1].flatten(1, 2), by_caption[:, -1, -1:]
    return torch.cat([start, text, end], dim=1)
