"""Chunks: what goes where, on the way to the encoder and back."""

import pytest
import torch

from library.models.text_chunks import flatten_chunks, in_chunks, join_chunks


@pytest.mark.parametrize(
    ("length", "filled"), [(0, (0, 0)), (1, (1, 0)), (74, (74, 0)), (75, (75, 0)), (76, (75, 1)), (200, (75, 75))]
)
def test_values_are_cut_into_pieces_of_75(length, filled):
    values = list(range(1000, 1000 + length))
    chunks = in_chunks(values, 2, start=1, end=2, filling=0)
    assert [len(chunk) for chunk in chunks] == [77, 77]
    for number, (chunk, count) in enumerate(zip(chunks, filled, strict=True)):
        text = list(range(1000 + 75 * number, 1000 + 75 * number + count))
        assert chunk == [1, *text, 2, *[0] * (75 - count)]


def states_by_place(captions: int, chunks: int) -> torch.Tensor:
    """Two features: caption * 10 + chunk, and the place in the chunk."""
    states = torch.empty(captions, chunks, 77, 2)
    states[..., 0] = (torch.arange(captions)[:, None] * 10 + torch.arange(chunks))[..., None]
    states[..., 1] = torch.arange(77)
    return states.flatten(0, 1)


def test_flattening_keeps_the_chunks_of_a_caption_together():
    ids = torch.arange(2 * 3 * 77).view(2, 3, 77)
    flat = flatten_chunks(ids)
    assert flat.shape == (6, 77)
    assert flat[:, 0].tolist() == [77 * row for row in range(6)]


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_joined_states(chunks):
    joined = join_chunks(states_by_place(2, chunks), None, chunks)
    assert joined.shape == (2, chunks * 75 + 2, 2)
    for caption in range(2):
        first, last = 10 * caption, 10 * caption + chunks - 1
        middle = [[10 * caption + chunk, place] for chunk in range(chunks) for place in range(1, 76)]
        assert joined[caption].tolist() == [[first, 0], *middle, [last, 76]]


def test_one_chunk_is_unchanged():
    states = torch.randn(3, 77, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(join_chunks(states, None, 1), states)
    assert torch.equal(join_chunks(states, torch.ones(3, 1, 77), 1), states)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_multiply_the_states_at_their_places(dtype):
    weights = torch.ones(2, 2, 77)
    weights[0, 0, 3], weights[1, 1, 75] = 1.25, 0.5
    plain = join_chunks(states_by_place(2, 2).to(dtype), None, 2)
    weighted = join_chunks(states_by_place(2, 2).to(dtype), weights, 2)
    assert weighted.dtype == dtype
    factors = torch.ones(2, 152)
    factors[0, 3], factors[1, 150] = 1.25, 0.5
    assert torch.equal(weighted, (plain.float() * factors[..., None]).to(dtype))


def test_gradients_reach_the_text_with_its_weight():
    states = torch.zeros(2, 77, 1, requires_grad=True)
    weights = torch.full((1, 2, 77), 2.0)
    join_chunks(states, weights, 2).sum().backward()
    expected = torch.full((2, 77, 1), 2.0)
    expected[0, 76] = expected[1, 0] = 0  # the first chunk's last state and the second's start are left out
    assert torch.equal(states.grad, expected)
