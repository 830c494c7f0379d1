"""noise_schedule.json, the plain schedule: betas, signal shares, SNR, min-SNR weights, factors of add_noise."""

import pytest
import torch

from library.diffusion.losses import min_snr_weights
from library.diffusion.noise_schedule import add_noise, scaled_linear_schedule
from tests.golden.tables import table

TABLE = table("noise_schedule")
SCHEDULE = scaled_linear_schedule()


def expect(found: torch.Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("quantity", ["beta", "alphas_cumprod", "snr"])
def test_schedule(quantity):
    found = {
        "beta": SCHEDULE.betas,
        "alphas_cumprod": SCHEDULE.alphas_cumprod,
        "snr": SCHEDULE.signal_to_noise,
    }[quantity]
    expect(found[TABLE["plain"]["timestep"]], TABLE["plain"][quantity])


def test_checksums():
    expected = TABLE["checksum"]["plain"]
    assert SCHEDULE.betas.double().sum().item() == pytest.approx(expected["sum_beta"], rel=1e-6)
    assert SCHEDULE.alphas_cumprod.double().sum().item() == pytest.approx(expected["sum_alphas_cumprod"], rel=1e-6)


@pytest.mark.parametrize("entry", TABLE["weights"]["min_snr"], ids=lambda entry: f"gamma {entry['gamma']}")
def test_min_snr(entry):
    expect(min_snr_weights(SCHEDULE, entry["gamma"])[TABLE["weights"]["timestep"]], entry["noise"])


def test_add_noise_factors():
    rows = TABLE["add_noise"]["plain"]
    timesteps = torch.tensor(rows["timestep"])
    one = torch.ones(len(timesteps), 1, 1, 1)
    expect(add_noise(SCHEDULE, one, one * 0, timesteps).flatten(), rows["latent_factor"])
    expect(add_noise(SCHEDULE, one * 0, one, timesteps).flatten(), rows["noise_factor"])
