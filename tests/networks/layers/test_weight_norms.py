"""Norms of W + scale * up @ down from Gram matrices."""

import pytest
import torch
from torch.autograd import gradcheck

from networks.layers import weight_norms
from networks.layers.weight_norms import column_norms, column_squares, row_norms, row_squares

SHAPES = [(6, 5), (6, 5, 3, 3), (6, 5, 1, 1)]
WAYS = {"columns": (column_squares, column_norms, 1), "rows": (row_squares, row_norms, 0)}


def draw(shape, rank=3, dtype=torch.float64):
    """weight, down, up"""
    outputs, inputs, *kernel = shape
    pixel = [1 for _ in kernel]
    torch.manual_seed(2)
    return (torch.randn(*size, dtype=dtype) for size in (shape, (rank, inputs, *kernel), (outputs, rank, *pixel)))


def norms_of(weight, down, up, scale, kept_axis):
    whole = weight.double() + scale * (up.double().flatten(1) @ down.double().flatten(1)).view(weight.shape)
    axes = [axis for axis in range(whole.dim()) if axis != kept_axis]
    return torch.linalg.vector_norm(whole, dim=axes, keepdim=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_norms_and_their_gradients(shape, way):
    squares_of, function, kept_axis = WAYS[way]
    weight, down, up = draw(shape)
    squares = squares_of(weight)
    torch.testing.assert_close(squares, norms_of(weight, down, 0 * up, 1, kept_axis).square())
    torch.testing.assert_close(function(squares, weight, down, up, 0.7), norms_of(weight, down, up, 0.7, kept_axis))
    factors = down.requires_grad_(), up.requires_grad_()
    assert gradcheck(lambda down, up: function(squares, weight, down, up, 0.7), factors)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_weights_are_read_in_chunks_and_summed_in_fp32(monkeypatch, way, dtype):
    squares_of, function, kept_axis = WAYS[way]
    monkeypatch.setattr(weight_norms, "CHUNK_VALUES", 1000)
    weight, down, up = draw((200, 130), dtype=torch.float32)
    weight = weight.to(dtype)
    down.requires_grad_(), up.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        norms = function(squares_of(weight), weight, down, up, 0.01)
    assert norms.dtype == torch.float32
    true = norms_of(weight, down, up, 0.01, kept_axis)
    torch.testing.assert_close(norms.double(), true, rtol=1e-6, atol=0)
    found, expected = (torch.autograd.grad(one.sum(), (down, up)) for one in (norms, true))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_a_change_that_cancels_the_weight_has_no_negative_square(way):
    squares_of, function, _ = WAYS[way]
    torch.manual_seed(0)
    down, up = torch.randn(2, 300), torch.randn(300, 2)
    weight = -(up @ down)
    norms = function(squares_of(weight), weight, down, up, 1.0)
    assert norms.isfinite().all() and (norms > 0).all() and norms.max() < 0.1


def test_nothing_is_kept_without_gradients():
    weight, down, up = draw((6, 5))
    down.requires_grad_()
    with torch.no_grad():
        assert not column_norms(column_squares(weight), weight, down, up, 1.0).requires_grad
