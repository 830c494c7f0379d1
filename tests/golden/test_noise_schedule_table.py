"""noise_schedule.json: betas, signal shares, SNR, min-SNR weights, factors of add_noise and of the velocity target."""

import pytest
import torch

from library.diffusion.noise_schedule import add_noise, scaled_linear_schedule, velocity, with_zero_terminal_snr
from library.diffusion.timestep_weights import debiased_weights, min_snr_weights, velocity_as_noise_weights
from tests.golden.tables import table

TABLE = table("noise_schedule")
SCHEDULES = {
    "plain": scaled_linear_schedule(),
    "zero_terminal_snr": with_zero_terminal_snr(scaled_linear_schedule()),
}

every_schedule = pytest.mark.parametrize("name", SCHEDULES)


def expect(found: torch.Tensor, expected: list[float], rtol: float = 1e-5) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), rtol=rtol, atol=1e-7)


@every_schedule
@pytest.mark.parametrize("quantity", ["beta", "alphas_cumprod", "snr"])
def test_schedule(name, quantity):
    schedule = SCHEDULES[name]
    found = {
        "beta": schedule.betas,
        "alphas_cumprod": schedule.alphas_cumprod,
        "snr": schedule.signal_to_noise,
    }[quantity]
    # the changed betas are differences of float32 numbers near 1, and 1e-4 from the exact ones in the table as here
    rounding = 3e-4 if (name, quantity) == ("zero_terminal_snr", "beta") else 1e-5
    expect(found[TABLE[name]["timestep"]], TABLE[name][quantity], rounding)


@every_schedule
def test_betas_and_signal_shares_belong_together(name):
    schedule = SCHEDULES[name]
    expect(torch.cumprod(1 - schedule.betas, dim=0), schedule.alphas_cumprod.tolist(), 1e-4)


@every_schedule
def test_checksums(name):
    schedule, expected = SCHEDULES[name], TABLE["checksum"][name]
    assert schedule.betas.double().sum().item() == pytest.approx(expected["sum_beta"], rel=1e-6)
    assert schedule.alphas_cumprod.double().sum().item() == pytest.approx(expected["sum_alphas_cumprod"], rel=1e-6)


def test_the_snr_is_that_of_the_schedule():
    """The tool we follow weights by the SNR from before the schedule was changed (reference fault "stale_snr")."""
    fault, schedule = TABLE["reference_faults"]["stale_snr"], SCHEDULES["zero_terminal_snr"]
    expect(schedule.signal_to_noise[fault["timestep"]], fault["belonging_to_schedule"])
    expect(SCHEDULES["plain"].signal_to_noise[fault["timestep"]], fault["used_by_reference"])
    snr = torch.tensor(fault["belonging_to_schedule"])
    assert snr[-1] < 1e-7
    noise, of_velocity = (min_snr_weights(schedule, 5, predicts_velocity)[fault["timestep"]] for predicts_velocity in (False, True))  # fmt: skip  # noqa: E501
    expect(noise[:-1], (snr.clamp(max=5) / snr)[:-1].tolist())
    expect(of_velocity, (snr.clamp(max=5) / (snr + 1)).tolist())
    assert (noise[-1], of_velocity[-1]) == (1, 0), "at pure noise the former has its limit"


@pytest.mark.parametrize("predicts_velocity", [False, True], ids=["noise", "velocity"])
@pytest.mark.parametrize("entry", TABLE["weights"]["min_snr"], ids=lambda entry: f"gamma {entry['gamma']}")
def test_min_snr(entry, predicts_velocity):
    found = min_snr_weights(SCHEDULES["plain"], entry["gamma"], predicts_velocity)
    expect(found[TABLE["weights"]["timestep"]], entry["velocity" if predicts_velocity else "noise"])


def test_other_weights():
    plain, weights = SCHEDULES["plain"], TABLE["weights"]
    expect(debiased_weights(plain, predicts_velocity=False)[weights["timestep"]], weights["debiased_noise"])
    expect(debiased_weights(plain, predicts_velocity=True)[weights["timestep"]], weights["debiased_velocity"])
    expect(velocity_as_noise_weights(plain)[weights["timestep"]], weights["v_scale"])


@every_schedule
def test_add_noise_and_velocity_factors(name):
    schedule, rows = SCHEDULES[name], TABLE["add_noise"][name]
    timesteps = torch.tensor(rows["timestep"])
    one = torch.ones(len(timesteps), 1, 1, 1)
    expect(add_noise(schedule, one, one * 0, timesteps).flatten(), rows["latent_factor"])
    expect(add_noise(schedule, one * 0, one, timesteps).flatten(), rows["noise_factor"])
    expect(velocity(schedule, one * 0, one, timesteps).flatten(), rows["latent_factor"])
    expect(velocity(schedule, -one, one * 0, timesteps).flatten(), rows["noise_factor"])


def test_the_whole_table_is_used():
    assert TABLE.keys() - {"description"} == {
        "plain", "zero_terminal_snr", "weights", "add_noise", "checksum", "reference_faults",
    }  # fmt: skip
    assert TABLE["weights"].keys() == {"timestep", "min_snr", "debiased_noise", "debiased_velocity", "v_scale"}
    assert TABLE["reference_faults"].keys() == {"stale_snr"}
