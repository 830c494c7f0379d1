"""Masks over latent cells, as whole numbers and as shares."""

import numpy as np
import pytest
import torch

from library.dataset.augmentations.loss_masks import mask_sums, masks_from_sums


def test_sums_over_cells():
    mask = np.random.default_rng(5).integers(0, 256, (24, 40), np.uint8)
    sums = mask_sums(mask, 8)
    assert (sums.dtype, sums.shape) == (np.int16, (3, 5))
    for row in range(3):
        for column in range(5):
            assert sums[row, column] == mask[8 * row : 8 * row + 8, 8 * column : 8 * column + 8].sum(dtype=int)


def test_a_mirrored_crop_is_summed_like_any_other():
    mask = np.random.default_rng(6).integers(0, 256, (20, 30), np.uint8)
    view = mask[3:19, 5:21][:, ::-1]
    np.testing.assert_array_equal(mask_sums(view, 8), mask_sums(view.copy(), 8))


def test_the_full_mask_is_exactly_one_and_the_empty_one_zero():
    full, empty = (mask_sums(np.full((16, 24), value, np.uint8), 8) for value in (255, 0))
    assert full.max() == 16320
    masks = masks_from_sums([full, empty, None], 8)
    assert (masks.dtype, masks.shape) == (torch.float32, (3, 2, 3))
    assert [masks[row].unique().tolist() for row in range(3)] == [[1.0], [0.0], [1.0]]


def test_every_sum_keeps_its_own_share():
    """So that masks from a cache are those from the images, bit by bit."""
    sums = np.arange(16321, dtype=np.int16).reshape(1, 16321)
    masks = masks_from_sums([sums], 8)
    assert len(masks.unique()) == 16321
    torch.testing.assert_close(masks[0, 0].double(), torch.arange(16321).double() / 16320, rtol=1e-7, atol=0)


def test_it_is_area_averaging():
    mask = np.random.default_rng(7).integers(0, 256, (32, 16), np.uint8)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(mask)[None, None].double() / 255, size=(4, 2), mode="area"
    )  # fmt: skip
    found = masks_from_sums([mask_sums(mask, 8)], 8)
    torch.testing.assert_close(found.double(), expected[0], rtol=1e-6, atol=1e-7)


def test_no_masks_are_none():
    assert masks_from_sums([None, None], 8) is None


def test_cells_too_large_for_16_bits():
    assert mask_sums(np.full((22, 22), 255, np.uint8), 11).max() == 30855
    with pytest.raises(ValueError, match="12x12"):
        mask_sums(np.full((24, 24), 255, np.uint8), 12)
