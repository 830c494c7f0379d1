"""Small text encoders that behave as real ones do: rows do not depend on each other, counted calls, pooled output."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from library.caching.text_encoder_outputs import CaptionEncoder
from library.diffusion.conditioning import TextConditioning, TokenizedCaptions

TOKENS, WIDTH, POOLED_WIDTH = 77, 16, 24
CPU = torch.device("cpu")


def tokenize(captions: Sequence[str]) -> TokenizedCaptions:
    """Letters as tokens, filled up with zeros."""
    rows = [[ord(letter) % 500 for letter in caption[:TOKENS].ljust(TOKENS, "\0")] for caption in captions]
    return TokenizedCaptions((torch.tensor(rows).unsqueeze(1),))


class StandInEncoder(nn.Module):
    def __init__(self, has_pooled: bool = True, dtype: torch.dtype = torch.float32, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(500, WIDTH)
            self.layer = nn.Linear(WIDTH, WIDTH)
            self.projection = nn.Linear(WIDTH, POOLED_WIDTH)
        self.to(dtype)
        self.has_pooled = has_pooled
        self.encoded: list[str] = []

    def forward(self, tokens: TokenizedCaptions) -> TextConditioning:
        ids = tokens.ids[0].flatten(1)
        self.encoded += ["".join(map(chr, row)).rstrip("\0") for row in ids.tolist()]
        states = torch.tanh(self.layer(self.embedding(ids)))
        return TextConditioning(states, self.projection(states[:, 0]) if self.has_pooled else None)


def encoder_of(model: StandInEncoder, batch_size: int = 4) -> CaptionEncoder:
    return CaptionEncoder(tokenize, model, batch_size, CPU)


def look_up(stores: Sequence[Any], captions: Sequence[str], queue: Any) -> None:
    """Runs in another process, and sends back what each store has for the captions."""
    torch.set_num_threads(1)  # the threads that the test process may have started did not come along
    for outputs in stores:
        text = outputs.conditioning(captions)
        queue.put((text.hidden_states.numpy(), text.pooled.numpy()))


def assert_same(first: TextConditioning, second: TextConditioning) -> None:
    """Bit for bit."""
    assert first.hidden_states.dtype == second.hidden_states.dtype
    assert torch.equal(first.hidden_states, second.hidden_states)
    assert (first.pooled is None) == (second.pooled is None)
    if first.pooled is not None:
        assert first.pooled.dtype == second.pooled.dtype
        assert torch.equal(first.pooled, second.pooled)
