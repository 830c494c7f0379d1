"""What a U-Net is told besides the noisy latents: the caption, as tokens and as encoded, and picture sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class TokenizedCaptions:
    """Captions as the text encoders take them: in chunks of 77 tokens (start, 75 of text, end), each of which is
    encoded on its own."""

    ids: tuple[torch.Tensor, ...]
    """for each text encoder, int64 (captions, chunks, 77)"""
    weights: tuple[torch.Tensor, ...] | None = None
    """for each text encoder, float32 (captions, chunks, 77): factors of the hidden states; None = all 1"""

    def to(self, device: torch.device) -> "TokenizedCaptions":
        """For use outside a training batch, which moves itself."""
        weights = None if self.weights is None else tuple(tensor.to(device) for tensor in self.weights)
        return TokenizedCaptions(tuple(tensor.to(device) for tensor in self.ids), weights)

    def rows_at(self, rows: torch.Tensor) -> "TokenizedCaptions":
        """Those captions whose numbers are given, int64 (rows,)."""
        weights = None if self.weights is None else tuple(tensor[rows] for tensor in self.weights)
        return TokenizedCaptions(tuple(tensor[rows] for tensor in self.ids), weights)


@dataclass(frozen=True)
class TextConditioning:
    """Encoded captions."""

    hidden_states: torch.Tensor
    """(captions, tokens, width)"""
    pooled: torch.Tensor | None = None
    """(captions, width): each caption as one vector, where the U-Net takes that"""

    @staticmethod
    def concatenate(parts: Sequence["TextConditioning"]) -> "TextConditioning":
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return TextConditioning(
            torch.cat([part.hidden_states for part in parts]), torch.cat(pooled) if pooled else None
        )

    def rows_at(self, rows: torch.Tensor) -> "TextConditioning":
        """Those captions whose numbers are given, int64 (rows,)."""
        return TextConditioning(self.hidden_states[rows], None if self.pooled is None else self.pooled[rows])

    def rows(self) -> "list[TextConditioning]":
        """Each caption by itself."""
        return [
            TextConditioning(
                self.hidden_states[row : row + 1], None if self.pooled is None else self.pooled[row : row + 1]
            )
            for row in range(len(self.hidden_states))
        ]


def size_numbers(
    original: tuple[int, int],  # width, height of the file
    crop: tuple[int, int],  # left, top
    target: tuple[int, int],  # width, height
) -> tuple[int, int, int, int, int, int]:
    """The numbers in the order in which U-Nets take them (Podell et al. 2023, arXiv 2307.01952, section 2.2)."""
    return (original[1], original[0], crop[1], crop[0], target[1], target[0])
