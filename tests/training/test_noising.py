"""Timesteps, noise and noisy latents: what each option changes, and what it needs."""

import pytest
import torch

from library.dataset.batches.draws import DrawRecipe, Draws, PyramidShape, draw_for
from library.diffusion.latents import LatentLayout
from library.diffusion.noise_schedule import scaled_linear_schedule, with_zero_terminal_snr
from library.options.groups import NoiseOptions, TimestepOptions
from library.training.noising import build_noising, draw_recipe
from tests.dataset.batches.planned_runs import SEED, batches_of_run, dataset_of

CPU = torch.device("cpu")
LAYOUT = LatentLayout(channels=4, pixels_per_cell=8)


def noised(batch_size: int = 4, timesteps: dict | None = None, **noise):
    """(timesteps, noise, noisy latents) of four images, prepared as a run with these options does."""
    options = NoiseOptions(**noise), TimestepOptions(**(timesteps or {}))
    noising = build_noising(*options, CPU)
    rows = {}
    for planned in batches_of_run(dataset_of(["a", "b", "c", "d"], batch_size=batch_size), epochs=1):
        draws = draw_for(planned, LAYOUT, SEED, draw_recipe(*options))
        names = [exposure.record.image_id for exposure in planned.exposures]
        latents = torch.stack([latents_of(name) for name in names])
        steps, shaped = noising.timesteps(draws), noising.noise(draws, latents)
        noisy = noising.noisy_latents(latents, shaped, steps, draws)
        rows |= {name: parts for name, *parts in zip(names, steps, shaped, noisy, strict=True)}
    assert len(rows) == 4
    return [torch.stack([rows[name][part] for name in sorted(rows)]) for part in range(3)]


def latents_of(name: str) -> torch.Tensor:
    number = ord(name[-5]) - ord("0")
    return torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(number)) + number


PLAIN = noised()


@pytest.mark.parametrize(
    "options",
    [
        {"noise_offset": 0.0},
        {"noise_offset": 0.0, "noise_offset_random_strength": True, "adaptive_noise_scale": 0.5},
        {"noise_offset_random_strength": True},
        {"multires_noise_iterations": 0, "multires_noise_discount": 0.9},
        {"ip_noise_gamma": 0.0, "ip_noise_gamma_random_strength": True},
    ],
)
def test_zero_is_off(options):
    assert draw_recipe(NoiseOptions(**options), TimestepOptions()) == DrawRecipe()
    for found, plain in zip(noised(**options), PLAIN, strict=True):
        assert torch.equal(found, plain)


ALL_NOISE = {
    "noise_offset": 0.1, "noise_offset_random_strength": True, "adaptive_noise_scale": 0.05,
    "multires_noise_iterations": 4, "multires_noise_discount": 0.5, "ip_noise_gamma": 0.1,
    "ip_noise_gamma_random_strength": True, "zero_terminal_snr": True,
}  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_an_image_does_not_depend_on_its_neighbours(batch_size):
    distribution = {"timestep_sampling": "logit_normal"}
    for found, expected in zip(
        noised(batch_size, distribution, **ALL_NOISE), noised(4, distribution, **ALL_NOISE), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_random_offset_strength_is_drawn_per_image():
    fixed = noised(noise_offset=0.2)[1] - PLAIN[1]
    random = noised(noise_offset=0.2, noise_offset_random_strength=True)[1] - PLAIN[1]
    shares = (random / fixed).flatten(1)
    torch.testing.assert_close(shares, shares.mean(dim=1, keepdim=True).expand_as(shares), rtol=1e-2, atol=1e-3)
    assert len({round(share, 3) for share in shares[:, 0].tolist()}) == 4
    assert shares.min() >= 0
    assert shares.max() < 1.001


def test_random_input_strength_is_drawn_per_image():
    fixed = noised(ip_noise_gamma=0.2)[2] - PLAIN[2]
    random = noised(ip_noise_gamma=0.2, ip_noise_gamma_random_strength=True)[2] - PLAIN[2]
    shares = [
        (ours * reference).sum() / reference.square().sum() for ours, reference in zip(random, fixed, strict=True)
    ]
    assert len({round(share.item(), 3) for share in shares}) == 4
    assert all(0 <= share < 1 for share in shares)


def test_adaptive_scale_follows_the_mean_of_each_channel():
    shift = noised(noise_offset=0.1)[1] - PLAIN[1]
    adapted = noised(noise_offset=0.1, adaptive_noise_scale=0.5)[1] - PLAIN[1]
    for number in range(4):
        means = latents_of(f"0/0/{number}.png").mean(dim=(1, 2)).abs()
        expected = shift[number] * ((0.1 + 0.5 * means) / 0.1)[:, None, None]
        torch.testing.assert_close(adapted[number], expected, rtol=1e-3, atol=1e-5)


def test_input_perturbation_leaves_the_target_alone():
    timesteps, noise, noisy = noised(ip_noise_gamma=0.1)
    assert torch.equal(timesteps, PLAIN[0])
    assert torch.equal(noise, PLAIN[1])
    share = (1 - scaled_linear_schedule().alphas_cumprod[timesteps]).sqrt()
    # what is added is as strong as 0.1 of the noise that is there
    assert ((noisy - PLAIN[2]).std(dim=(1, 2, 3)) / share).tolist() == pytest.approx([0.1] * 4, rel=0.15)


def test_offset_comes_before_multires_noise():
    both = noised(noise_offset=0.3, multires_noise_iterations=3, multires_noise_discount=0.5)[1]
    pyramid = noised(multires_noise_iterations=3, multires_noise_discount=0.5)[1]
    torch.testing.assert_close(both.std(dim=(1, 2, 3)), torch.ones(4))
    torch.testing.assert_close(pyramid.std(dim=(1, 2, 3)), torch.ones(4))
    assert (both.mean(dim=(2, 3)) - pyramid.mean(dim=(2, 3))).abs().max() > 0.1


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_the_schedule_belongs_to_the_noise(zero_terminal_snr):
    schedule = scaled_linear_schedule()
    if zero_terminal_snr:
        schedule = with_zero_terminal_snr(schedule)
    timesteps, noise, noisy = noised(zero_terminal_snr=zero_terminal_snr)
    found = build_noising(NoiseOptions(zero_terminal_snr=zero_terminal_snr), TimestepOptions(), CPU).schedule
    assert torch.equal(found.alphas_cumprod, schedule.alphas_cumprod)
    assert torch.equal(found.betas, schedule.betas)
    kept = schedule.alphas_cumprod[timesteps].view(4, 1, 1, 1)
    latents = torch.stack([latents_of(f"0/0/{number}.png") for number in range(4)])
    torch.testing.assert_close(noisy, kept.sqrt() * latents + (1 - kept).sqrt() * noise)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 250, 500, 750, 999]),
        ({"min_timestep": 200}, [200, 400, 600, 800, 999]),
        ({"max_timestep": 500}, [0, 125, 250, 375, 499]),
        ({"min_timestep": 0, "max_timestep": 1000}, [0, 250, 500, 750, 999]),
        ({"min_timestep": 300, "max_timestep": 300}, [300] * 5),
        ({"min_timestep": 999, "max_timestep": 1000, "timestep_sampling": "cosine"}, [999] * 5),
        ({"timestep_sampling": "cosine"}, [0, 292, 500, 707, 999]),
        ({"timestep_sampling": "logit_normal"}, [0, 337, 500, 662, 991]),
        ({"timestep_sampling": "logit_normal", "logit_mean": 1.0, "logit_std": 0.5}, [0, 659, 731, 792, 967]),
        (
            {"timestep_sampling": "logit_normal", "min_timestep": 200, "max_timestep": 600},
            [200, 334, 400, 465, 596],
        ),
    ],
)
def test_timesteps(options, expected):
    uniform = torch.tensor([0.0, 0.25, 0.5, 0.75, 1 - 2**-20])
    draws = Draws(noise=uniform, offset=None, posterior=None, timestep=uniform)
    found = build_noising(NoiseOptions(), TimestepOptions(**options), CPU).timesteps(draws)
    assert found.dtype == torch.int64
    assert found.tolist() == expected


def test_the_recipe_of_all_options():
    assert draw_recipe(NoiseOptions(**ALL_NOISE), TimestepOptions(stratified_timesteps=True)) == DrawRecipe(
        offset=True, offset_strength=True, pyramid=PyramidShape(4, 0.5), input_noise=True, input_strength=True,
        stratified=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options", [{"noise_offset": 0.1}, {"multires_noise_iterations": 2}, {"ip_noise_gamma": 0.1}], ids=str
)
def test_a_batch_that_was_prepared_for_other_options_is_an_error(options):
    planned = batches_of_run(dataset_of(["a"]), epochs=1)[0]
    draws, latents = draw_for(planned, LAYOUT, SEED, DrawRecipe()), torch.zeros(1, 4, 8, 8)
    noising = build_noising(NoiseOptions(**options), TimestepOptions(), CPU)
    with pytest.raises(ValueError, match="lacks draws that these options need"):
        noising.noisy_latents(latents, noising.noise(draws, latents), noising.timesteps(draws), draws)
