"""Losses of single values: their values, their gradients, their thresholds."""

import math

import pytest
import torch

from library.diffusion.elementwise_losses import (
    HUBER_LOSSES,
    PLAIN_LOSSES,
    SMALLEST_THRESHOLD,
    elementwise_loss,
    huber_thresholds,
)
from library.diffusion.noise_schedule import scaled_linear_schedule, with_zero_terminal_snr

PLAIN = scaled_linear_schedule()
ZERO_TERMINAL = with_zero_terminal_snr(PLAIN)
C = [0.05, 0.7, 3.0]
GRADIENTS = {
    "l2": lambda d, c: 2 * d,
    "l1": lambda d, c: d.sign(),
    "huber": lambda d, c: 2 * c * d / (d**2 + c**2).sqrt(),
    "smooth_l1": lambda d, c: 2 * d / (d**2 + c**2).sqrt(),
}
VALUES = {
    "l2": lambda d, c: d**2,
    "l1": lambda d, c: d.abs(),
    "huber": lambda d, c: 2 * c * ((d**2 + c**2).sqrt() - c),
    "smooth_l1": lambda d, c: 2 * ((d**2 + c**2).sqrt() - c),
}

every_kind = pytest.mark.parametrize("kind", [*PLAIN_LOSSES, *HUBER_LOSSES])


def thresholds_for(kind: str) -> torch.Tensor | None:
    return torch.tensor(C) if kind in HUBER_LOSSES else None


@every_kind
def test_values_and_gradients_are_those_of_the_formula(kind):
    """Written out in float64."""
    prediction, target = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(1)).unbind()
    prediction[0, 0, 0, 0] = target[0, 0, 0, 0]
    prediction.requires_grad_()
    losses = elementwise_loss(kind, prediction, target, thresholds_for(kind))
    losses.sum().backward()
    difference, c = (prediction - target).detach().double(), torch.tensor(C).double().view(-1, 1, 1, 1)
    torch.testing.assert_close(losses.double(), VALUES[kind](difference, c), rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(prediction.grad.double(), GRADIENTS[kind](difference, c), rtol=1e-6, atol=1e-12)


@every_kind
def test_everything_is_computed_in_float32(kind):
    prediction = torch.full((3, 1, 1, 2), 300.0, dtype=torch.float16)  # its square is beyond float16
    losses = elementwise_loss(kind, prediction, torch.zeros(3, 1, 1, 2), thresholds_for(kind))
    assert losses.dtype == torch.float32
    expected = VALUES[kind](torch.tensor(300.0).double(), torch.tensor(C).double())
    torch.testing.assert_close(losses[:, 0, 0, 0].double(), expected.expand(3), rtol=1e-6, atol=0)


def test_huber_is_squared_below_the_threshold_and_absolute_above():
    c = torch.tensor([1.0])
    small, large = torch.full((1, 1, 1, 1), 1e-4), torch.full((1, 1, 1, 1), 1e5)
    zero = torch.zeros(1, 1, 1, 1)
    assert elementwise_loss("huber", small, zero, c).item() == pytest.approx(1e-8, rel=1e-6)
    assert elementwise_loss("huber", large, zero, c).item() == pytest.approx(2e5, rel=1e-4)


@pytest.mark.parametrize("kind", HUBER_LOSSES)
def test_a_threshold_next_to_nothing_still_has_gradients(kind):
    thresholds = huber_thresholds("exponential", 1e-30, 1.0, PLAIN)
    assert thresholds.min() == SMALLEST_THRESHOLD
    prediction = torch.tensor([0.0, 1e-3]).view(1, 1, 1, 2).requires_grad_()
    elementwise_loss(kind, prediction, torch.zeros(1, 1, 1, 2), thresholds[-1:]).sum().backward()
    assert prediction.grad.isfinite().all()
    assert prediction.grad[0, 0, 0, 0] == 0


@pytest.mark.parametrize("kind", HUBER_LOSSES)
@pytest.mark.parametrize("threshold", [1e-12, 1e-6, 1e6, 1e30])
def test_a_threshold_of_any_size(kind, threshold):
    difference = torch.tensor([1e-7, 1e-3, 1.0, 1e3, -1e3]).view(1, 1, 1, 5).requires_grad_()
    losses = elementwise_loss(kind, difference, torch.zeros(1, 1, 1, 5), torch.tensor([threshold]))
    losses.sum().backward()
    d, c = difference.detach().double(), torch.tensor(threshold).double()
    root = (d**2 + c**2).sqrt()
    values, slopes = 2 * d**2 / (root + c), 2 * d / root
    factor = c if kind == "huber" else 1.0
    torch.testing.assert_close(losses.double(), factor * values, rtol=1e-5, atol=1e-44)
    torch.testing.assert_close(difference.grad.double(), factor * slopes, rtol=1e-5, atol=1e-44)


@pytest.mark.parametrize("schedule", [PLAIN, ZERO_TERMINAL], ids=["plain", "zero terminal SNR"])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_thresholds(schedule, scale):
    """The scale counts for all of them."""
    sigma = (1 / schedule.signal_to_noise.double()).sqrt()
    steps = torch.arange(1000).double()
    expected = {
        "constant": torch.full((1000,), 0.2).double(),
        "exponential": torch.exp(math.log(0.2) * steps / 1000),
        "snr": 0.8 / (1 + sigma) ** 2 + 0.2,
    }
    for kind, table in expected.items():
        found = huber_thresholds(kind, 0.2, scale, schedule)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), table * scale, rtol=1e-5, atol=0)
    assert huber_thresholds("snr", 0.2, scale, ZERO_TERMINAL)[-1].item() == pytest.approx(0.2 * scale)
