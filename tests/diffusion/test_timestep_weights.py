"""What the timesteps weigh."""

import pytest
import torch

from library.diffusion.noise_schedule import scaled_linear_schedule, with_zero_terminal_snr
from library.diffusion.timestep_weights import (
    debiased_weights,
    min_snr_weights,
    noise_error_share,
    p2_weights,
    soft_min_snr_weights,
    velocity_as_noise_weights,
    with_velocity_weights,
)

PLAIN = scaled_linear_schedule()
ZERO_TERMINAL = with_zero_terminal_snr(PLAIN)
SNR = PLAIN.signal_to_noise.double()

EXPECTED = {
    "min-SNR, noise": (min_snr_weights(PLAIN, 5), SNR.clamp(max=5) / SNR),
    "min-SNR, velocity": (min_snr_weights(PLAIN, 5, True), SNR.clamp(max=5) / (SNR + 1)),
    "soft min-SNR, noise": (soft_min_snr_weights(PLAIN, 5, False), 5 / (SNR + 5)),
    "soft min-SNR, velocity": (soft_min_snr_weights(PLAIN, 5, True), SNR * 5 / ((SNR + 5) * (SNR + 1))),
    "P2, noise": (p2_weights(PLAIN, 0.5, 2, False), 1 / (2 + SNR).sqrt()),
    "P2, velocity": (p2_weights(PLAIN, 0.5, 2, True), 1 / (2 + SNR).sqrt() * SNR / (SNR + 1)),
    "debiased, noise": (debiased_weights(PLAIN, False), 1 / SNR.clamp(max=1000).sqrt()),
    "debiased, velocity": (debiased_weights(PLAIN, True), 1 / (SNR.clamp(max=1000) + 1)),
    "velocity as noise": (velocity_as_noise_weights(PLAIN), SNR.clamp(max=1000) / (SNR.clamp(max=1000) + 1)),
    "with velocity": (with_velocity_weights(PLAIN, 0.3), 1 + 0.3 * (1 + 1 / SNR.clamp(max=1000))),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_weights(name):
    found, expected = EXPECTED[name]
    assert (found.shape, found.dtype) == ((1000,), torch.float32)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=0)


def test_the_same_error_weighs_the_same_whichever_is_predicted():
    """An error of the velocity is one of the noise, whose square is SNR / (SNR + 1) times as large."""
    for weights in (min_snr_weights, soft_min_snr_weights):
        as_noise = weights(PLAIN, 5, False) * noise_error_share(PLAIN)
        torch.testing.assert_close(weights(PLAIN, 5, True), as_noise, rtol=1e-5, atol=0)
    as_noise = p2_weights(PLAIN, 1, 1, False) * noise_error_share(PLAIN)
    torch.testing.assert_close(p2_weights(PLAIN, 1, 1, True), as_noise, rtol=1e-5, atol=0)
    torch.testing.assert_close(noise_error_share(PLAIN).double(), SNR / (SNR + 1), rtol=1e-5, atol=0)


def test_the_soft_form_is_half_the_hard_one_where_that_has_its_bend():
    bend = int((SNR - 5).abs().argmin())
    hard, soft = min_snr_weights(PLAIN, 5), soft_min_snr_weights(PLAIN, 5, False)
    assert soft[bend] / hard[bend] == pytest.approx(0.5, abs=0.01)
    assert (soft < hard).all()
    assert (soft / hard)[[0, -1]].tolist() == pytest.approx([1, 1], abs=0.01)


def test_at_pure_noise():
    last = {
        "min-SNR, noise": (min_snr_weights(ZERO_TERMINAL, 5)[-1], 1),
        "min-SNR, velocity": (min_snr_weights(ZERO_TERMINAL, 5, True)[-1], 0),
        "soft min-SNR, noise": (soft_min_snr_weights(ZERO_TERMINAL, 5, False)[-1], 1),
        "soft min-SNR, velocity": (soft_min_snr_weights(ZERO_TERMINAL, 5, True)[-1], 0),
        "P2, noise": (p2_weights(ZERO_TERMINAL, 1, 2, False)[-1], 0.5),
        "P2, velocity": (p2_weights(ZERO_TERMINAL, 1, 2, True)[-1], 0),
        "debiased, velocity": (debiased_weights(ZERO_TERMINAL, True)[-1], 1),
        "velocity as noise": (velocity_as_noise_weights(ZERO_TERMINAL)[-1], 0),
    }
    for name, (found, expected) in last.items():
        assert found.item() == expected, name
    assert debiased_weights(ZERO_TERMINAL, False)[-1].isinf(), "refused among the options"
    assert with_velocity_weights(ZERO_TERMINAL, 0.1)[-1].isinf(), "refused among the options"
