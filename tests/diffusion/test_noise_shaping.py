"""Offset, multi-resolution noise and input perturbation, where no golden table looks."""

import itertools

import pytest
import torch

from library.diffusion.noise_shaping import (
    adapt_offset_strength,
    add_offset_noise,
    add_pyramid_noise,
    draw_pyramid,
    perturb_input,
    pyramid_sizes,
    sum_pyramid,
)


def seeded(number: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def test_offset_noise_shifts_whole_channels():
    noise = torch.zeros(2, 3, 4, 5)
    draws = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.0, 10.0]])
    shifted = add_offset_noise(noise, draws, 0.1)
    assert shifted.shape == noise.shape
    torch.testing.assert_close(shifted[0, 1], torch.full((4, 5), 0.2))
    torch.testing.assert_close(shifted[1, 2], torch.full((4, 5), 1.0))


def test_each_image_may_have_an_offset_strength_of_its_own():
    shifted = add_offset_noise(torch.zeros(2, 3, 1, 1), torch.ones(2, 3), torch.tensor([[0.5], [2.0]]))
    assert shifted.flatten(1).tolist() == [[0.5] * 3, [2.0] * 3]


@pytest.mark.parametrize(("scale", "expected"), [(1.0, [1.1, 0.6]), (-1.0, [0.0, 0.0]), (-0.1, [0.0, 0.05])])
def test_adaptive_strength_is_per_channel_and_never_negative(scale, expected):
    latents = torch.tensor([[[[0.0, 2.0]], [[-1.5, 0.5]]]])  # means 1 and -0.5
    found = adapt_offset_strength(0.1, latents, scale)
    assert found.shape == (1, 2)
    torch.testing.assert_close(found, torch.tensor([expected]))


@pytest.mark.parametrize(
    ("size", "share", "expected"),
    [
        ((64, 64), 0.0, [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]),
        ((64, 32), 0.5, [(64, 32), (21, 10), (7, 3), (2, 1)]),
        ((8, 100), 0.999, [(8, 100), (2, 25), (1, 6)]),
        ((1, 9), 0.0, [(1, 9)]),
    ],
)
def test_sizes_shrink_until_a_side_is_1(size, share, expected):
    assert list(pyramid_sizes(size, itertools.repeat(share))) == expected
    assert list(pyramid_sizes(size, [share] * 2)) == expected[:2]
    assert list(pyramid_sizes(size, [])) == []


def test_more_iterations_add_smaller_levels_and_change_no_other():
    few, many = (draw_pyramid((4, 64, 96), iterations, seeded()) for iterations in (3, 10))
    assert len(few) == 3
    assert 4 <= len(many) < 10
    assert few[0].shape == (1, 4, 64, 96)
    for one, other in zip(few, many, strict=False):
        assert torch.equal(one, other)
    assert 1 in many[-1].shape[2:]


def test_the_sum_enlarges_smoothly_and_discounts_each_level():
    levels = [torch.zeros(1, 1, 4, 4), torch.tensor([[[[0.0, 4.0], [0.0, 4.0]]]]), torch.full((1, 1, 1, 1), 8.0)]
    total = sum_pyramid(levels, 0.5)
    # twice as wide, not aligned to corners: 0, 1/4, 3/4, 1 of the way
    torch.testing.assert_close(total[0, 0], torch.tensor([2.0, 2.5, 3.5, 4.0]).expand(4, 4))
    assert not levels[0].any(), "the levels stay as they are"
    assert torch.equal(sum_pyramid(levels[:1], 0.5), levels[0])
    assert torch.equal(sum_pyramid(levels, 0.0), levels[0])


def test_pyramid_noise_has_deviation_1_in_each_image():
    generator = seeded()
    noise, pyramid = (torch.randn(3, 4, 8, 8, generator=generator) for _ in range(2))
    pyramid *= torch.tensor([0.1, 1.0, 10.0]).view(3, 1, 1, 1)
    shaped = add_pyramid_noise(noise, pyramid)
    torch.testing.assert_close(shaped.std(dim=(1, 2, 3)), torch.ones(3))
    for row in range(3):
        torch.testing.assert_close(add_pyramid_noise(noise[row, None], pyramid[row, None])[0], shaped[row])


@pytest.mark.parametrize("strength", [0.5, torch.tensor([0.5]), torch.tensor([0.5, 0.5])])
def test_input_perturbation(strength):
    generator = seeded()
    noise, draws = (torch.randn(2, 4, 3, 5, generator=generator) for _ in range(2))
    assert torch.equal(perturb_input(noise, draws, strength), noise + 0.5 * draws)


def test_each_image_may_have_a_perturbation_of_its_own():
    perturbed = perturb_input(torch.zeros(2, 1, 1, 2), torch.ones(2, 1, 1, 2), torch.tensor([0.5, 2.0]))
    assert perturbed.flatten().tolist() == [0.5, 0.5, 2.0, 2.0]
