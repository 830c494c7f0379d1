"""From the loss of each value to that of each image."""

import pytest
import torch

from library.diffusion.masked_means import mean_per_image, softened

LOSSES = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]], [[[8.0, 0.0], [0.0, 0.0]]]])
MASKS = torch.tensor([[[1.0, 0.5], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])


def test_without_masks():
    assert mean_per_image(LOSSES).tolist() == [3.0, 2.0]
    assert mean_per_image(LOSSES, is_normalized=True).tolist() == [3.0, 2.0]


def test_masks_are_factors():
    assert mean_per_image(LOSSES, MASKS).tolist() == [0.5, 0.0]


def test_normalised_the_mean_is_that_over_what_the_mask_leaves():
    assert mean_per_image(LOSSES, MASKS, is_normalized=True)[0].item() == pytest.approx(2 / 1.5)


def test_a_black_mask_counts_nothing_and_gives_no_gradient():
    losses = LOSSES.clone().requires_grad_()
    means = mean_per_image(losses, MASKS, is_normalized=True)
    assert means[1] == 0
    means.sum().backward()
    assert torch.equal(losses.grad[1], torch.zeros(1, 2, 2))
    torch.testing.assert_close(losses.grad[0, 0], MASKS[0] / 1.5)


def test_a_mask_of_ones_changes_no_bit():
    losses = torch.rand(2, 4, 9, 7, generator=torch.Generator().manual_seed(1))
    ones = torch.ones(2, 9, 7)
    for is_normalized in (False, True):
        assert torch.equal(mean_per_image(losses, ones, is_normalized), mean_per_image(losses))


def test_small_and_large_masks_weigh_alike_when_normalised():
    losses = torch.ones(2, 4, 8, 8)
    masks = torch.zeros(2, 8, 8)
    masks[0, :1, :1] = 1
    masks[1, :, :7] = 1
    assert mean_per_image(losses, masks).tolist() == [1 / 64, 56 / 64]
    assert mean_per_image(losses, masks, is_normalized=True).tolist() == [1.0, 1.0]


def test_softened_masks():
    assert softened(MASKS, 0.0).equal(MASKS)
    assert softened(MASKS, 1.0).equal(torch.ones_like(MASKS))
    torch.testing.assert_close(softened(MASKS, 0.2)[0], torch.tensor([[1.0, 0.6], [0.2, 0.2]]))
    soft = mean_per_image(LOSSES, softened(MASKS, 0.5), is_normalized=True)
    assert soft[1].item() == pytest.approx(2.0), "what is black all over is the whole picture again"
