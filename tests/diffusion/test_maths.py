"""The pure functions that no golden table covers."""

import pytest
import torch

from library.diffusion.losses import squared_error_per_image
from library.diffusion.noise_shaping import add_offset_noise
from library.diffusion.timesteps import uniform_timesteps


def test_offset_noise_shifts_whole_channels():
    noise = torch.zeros(2, 3, 4, 5)
    draws = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.0, 10.0]])
    shifted = add_offset_noise(noise, draws, 0.1)
    assert shifted.shape == noise.shape
    torch.testing.assert_close(shifted[0, 1], torch.full((4, 5), 0.2))
    torch.testing.assert_close(shifted[1, 2], torch.full((4, 5), 1.0))


@pytest.mark.parametrize(
    ("uniform", "lowest", "limit", "expected"),
    [
        (0.0, 0, 1000, 0),
        (0.9999999, 0, 1000, 999),
        (0.5, 0, 1000, 500),
        (0.0, 100, 200, 100),
        (0.999999999, 100, 200, 199),
        (0.25, 100, 200, 125),
        (1.0 - 1e-16, 0, 1000, 999),
    ],
)
def test_timesteps(uniform, lowest, limit, expected):
    assert uniform_timesteps(torch.tensor([uniform], dtype=torch.float64), lowest, limit).tolist() == [expected]


def test_all_timesteps_are_equally_likely():
    uniform = torch.arange(10_000, dtype=torch.float64) / 10_000
    assert torch.bincount(uniform_timesteps(uniform), minlength=1000).tolist() == [10] * 1000


def test_loss_is_the_mean_of_each_image_in_float32():
    prediction = torch.tensor([[[[1.0, 2.0]]], [[[0.0, 0.0]]]], dtype=torch.bfloat16)
    target = torch.zeros(2, 1, 1, 2)
    loss = squared_error_per_image(prediction, target)
    assert loss.dtype == torch.float32
    assert loss.tolist() == [2.5, 0.0]
