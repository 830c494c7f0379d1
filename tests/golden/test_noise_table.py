"""noise.json: offset and multi-resolution noise, input perturbation, ranges of timesteps."""

import itertools
import statistics

import pytest
import torch

from library.dataset.batches.draws import DrawRecipe, Draws
from library.diffusion.noise_shaping import draw_pyramid, pyramid_sizes, sum_pyramid
from library.options.groups import NoiseOptions, TimestepOptions
from library.randomness import python_generator
from library.training.noising import Noising, build_noising, draw_recipe
from tests.golden.tables import numbered, table, tensors

TABLE, TENSORS = table("noise"), tensors("noise")
CPU = torch.device("cpu")
TOLERANCE = {"rtol": 0.0, "atol": 2e-5}
FOR_TIMESTEPS = ("min_timestep", "max_timestep")
COUPLED = TABLE["reference_faults"]["batch_coupled"]


def options_of(case) -> tuple[NoiseOptions, TimestepOptions]:
    noise = {name: value for name, value in case["options"].items() if name not in FOR_TIMESTEPS}
    timesteps = {name: value for name, value in case["options"].items() if name in FOR_TIMESTEPS}
    return NoiseOptions(**noise), TimestepOptions(**timesteps)


class Recording:
    """Hands out the draws of a case in order; those of one number for the whole batch stay one number."""

    def __init__(self, case):
        self.left = list(case["draws"])

    def take(self, kind: str) -> torch.Tensor:
        entry = self.left.pop(0)
        assert entry["kind"] == kind
        return TENSORS[entry["tensor"]]

    def take_timesteps(self) -> torch.Tensor:
        """Uniform draws that the timesteps follow from."""
        entry = self.left.pop(0)
        assert entry["kind"] == "timestep"
        low, limit = entry["low"], entry["high_exclusive"]
        return (torch.tensor(entry["values"]) - low + 0.5) / (limit - low)

    def take_levels(self) -> tuple[list[float], list[torch.Tensor]]:
        shares, levels = [], []
        while self.left[0]["kind"] == "host_uniform":
            shares.append(self.left.pop(0)["value"])
            levels.append(self.take("normal"))
        return shares, levels


def draws_of(case, recipe: DrawRecipe) -> Draws:
    recording = Recording(case)
    noise = recording.take("normal")
    offset_strength = recording.take("uniform") if recipe.offset_strength else None
    offset = recording.take("normal").flatten(1) if recipe.offset else None
    pyramid = None
    if recipe.pyramid:
        shares, levels = recording.take_levels()
        further = itertools.chain(shares, itertools.repeat(0.0))
        sizes = pyramid_sizes(tuple(case["shape"][2:]), itertools.islice(further, recipe.pyramid.iterations))
        assert list(sizes) == [tuple(level.shape[2:]) for level in levels]
        pyramid = sum_pyramid(levels, recipe.pyramid.discount)
    timestep = recording.take_timesteps()
    input_strength = recording.take("uniform") if recipe.input_strength else None
    input_noise = recording.take("normal") if recipe.input_noise else None
    assert recording.left == []
    return Draws(
        noise=noise, offset=offset, posterior=None, timestep=timestep, offset_strength=offset_strength,
        pyramid=pyramid, input_noise=input_noise, input_strength=input_strength,
    )  # fmt: skip


def prepared(case) -> tuple[Noising, Draws, torch.Tensor]:
    options = options_of(case)
    return build_noising(*options, CPU), draws_of(case, draw_recipe(*options)), TENSORS[f"{case['name']}.latents"]


@pytest.mark.parametrize(("name", "case"), numbered(TABLE["exact"], "name"))
def test_exact(name, case):
    noising, draws, latents = prepared(case)
    timesteps = noising.timesteps(draws)
    assert timesteps.tolist() == case["timesteps"]
    noise = noising.noise(draws, latents)
    torch.testing.assert_close(noise, TENSORS[f"{name}.noise"], **TOLERANCE)
    assert noise.std().item() == pytest.approx(case["noise_std"], abs=2e-5)
    noisy = noising.noisy_latents(latents, noise, timesteps, draws)
    torch.testing.assert_close(noisy, TENSORS[f"{name}.noisy_latents"], **TOLERANCE)


@pytest.mark.parametrize(("name", "case"), numbered(COUPLED, "name"))
def test_multires_noise_of_a_batch_is_the_same_up_to_the_scale_of_each_image(name, case):
    """The tool we follow divides by the deviation of the batch (reference fault "batch_coupled"): here, each image has
    the noise that it has alone."""
    noising, draws, latents = prepared(case)
    reference = TENSORS[f"{name}.noise"]
    own_scale = reference.std(dim=(1, 2, 3), keepdim=True)
    assert (own_scale - 1).abs().min() > 1e-3
    assert reference.std().item() == pytest.approx(1)
    noise = noising.noise(draws, latents)
    torch.testing.assert_close(noise, reference / own_scale, **TOLERANCE)
    for row in range(len(noise)):
        alone = Draws(
            noise=draws.noise[row : row + 1],
            offset=None if draws.offset is None else draws.offset[row : row + 1],
            posterior=None,
            timestep=draws.timestep[row : row + 1],
            pyramid=draws.pyramid[row : row + 1],
        )
        torch.testing.assert_close(noising.noise(alone, latents[row : row + 1]), noise[row : row + 1])


@pytest.mark.parametrize(("name", "entry"), numbered(TABLE["multires_sizes"], "side"))
def test_sizes_of_levels(name, entry):
    side, runs = entry["side"], entry["runs"]
    shares = python_generator(1, "test of sizes", side)
    iterations = range(entry["iterations_requested"])
    pyramids = [pyramid_sizes((side, side), (shares.random() for _ in iterations)) for _ in range(runs)]
    sides = [[height for height, _ in sizes] for sizes in pyramids]
    sampling_error = 4 * (2 * 0.25 / runs) ** 0.5  # of a share, ours and the table's: four standard deviations
    assert max(map(len, sides)) == len(entry["per_iteration"])
    for expected in entry["per_iteration"]:
        level = expected["i"]
        found = [one[level] for one in sides if len(one) > level]
        stopped = sum(len(one) == level + 1 for one in sides)
        assert len(found) / runs == pytest.approx(expected["reached_share"], abs=sampling_error)
        assert stopped / runs == pytest.approx(expected["stops_here_share"], abs=sampling_error)
        assert min(found) == pytest.approx(expected["min"], abs=1)
        assert max(found) == pytest.approx(expected["max"], abs=1)
        deciles = statistics.quantiles(found, n=10)
        for ours, key in zip((deciles[0], deciles[4], deciles[8]), ("q10", "median", "q90"), strict=True):
            assert ours == pytest.approx(expected[key], abs=1)
        assert statistics.fmean(found) == pytest.approx(expected["mean"], rel=0.03)


def options_named(name: str) -> NoiseOptions:
    """As "noise_offset 0.1", "multires 6 discount 0.3" or "white"."""
    match name.split():
        case ["noise_offset", strength]:
            return NoiseOptions(noise_offset=float(strength))
        case ["multires", iterations, "discount", discount]:
            return NoiseOptions(multires_noise_iterations=int(iterations), multires_noise_discount=float(discount))
        case ["white"]:
            return NoiseOptions()
    raise ValueError(name)


def many_draws(recipe: DrawRecipe, entry) -> Draws:
    generator = torch.Generator().manual_seed(1)
    count, channels, side = entry["samples"], entry["channels"], entry["side"]
    shape, pyramid = (channels, side, side), None
    if recipe.pyramid:
        iterations, discount = recipe.pyramid.iterations, recipe.pyramid.discount
        pyramid = torch.cat([sum_pyramid(draw_pyramid(shape, iterations, generator), discount) for _ in range(count)])
    return Draws(
        noise=torch.randn(count, *shape, generator=generator),
        offset=torch.randn(count, channels, generator=generator) if recipe.offset else None,
        posterior=None,
        timestep=torch.zeros(count),
        pyramid=pyramid,
    )


def power_in_bands(noise: torch.Tensor, count: int) -> list[float]:
    """Of the mean alone, then of radii from 1 to below 2, 2 to below 4, ... cycles per image."""
    side = noise.shape[-1]
    power = (torch.fft.fft2(noise).abs().square() / side**2).mean(dim=(0, 1))
    frequency = torch.fft.fftfreq(side) * side
    radius = (frequency[:, None].square() + frequency.square()).sqrt()
    bands = [radius == 0, *((radius >= 2**band) & (radius < 2 ** (band + 1)) for band in range(count - 1))]
    return [power[band].mean().item() for band in bands]


@pytest.mark.parametrize(("name", "entry"), numbered(TABLE["statistics"], "name"))
def test_statistics(name, entry):
    options = options_named(name), TimestepOptions()
    draws = many_draws(draw_recipe(*options), entry)
    noise = build_noising(*options, CPU).noise(draws, torch.zeros_like(draws.noise))
    both_are_measured = 1.5 * 2**0.5  # three standard deviations instead of two, of a difference
    of_bands = both_are_measured * entry["relative_error"]
    of_means = both_are_measured * entry["mean_var_relative_error"]
    assert noise.std().item() == pytest.approx(entry["std"], rel=0.005)
    assert noise.mean(dim=(2, 3)).var().item() == pytest.approx(entry["mean_var"], rel=of_means)
    found = power_in_bands(noise, len(entry["band_power"]))
    assert found[0] == pytest.approx(entry["band_power"][0], rel=of_means)
    assert found[1:] == pytest.approx(entry["band_power"][1:], rel=of_bands)


@pytest.mark.parametrize(("name", "entry"), numbered(TABLE["timestep_ranges"]))
def test_ranges_of_timesteps(name, entry):
    options = TimestepOptions(min_timestep=entry["min_timestep"], max_timestep=entry["max_timestep"])
    uniform = torch.rand(200_000, generator=torch.Generator().manual_seed(1))
    draws = Draws(noise=uniform, offset=None, posterior=None, timestep=uniform)
    timesteps = build_noising(NoiseOptions(), options, CPU).timesteps(draws)
    assert timesteps.dtype == torch.int64
    assert (timesteps.min().item(), timesteps.max().item()) == (entry["seen_min"], entry["seen_max"])
    spread = (entry["seen_max"] - entry["seen_min"]) / 12**0.5
    assert timesteps.double().mean().item() == pytest.approx(entry["seen_mean"], abs=5 * spread / 200_000**0.5 + 1e-9)


def test_the_whole_table_is_used():
    assert TABLE.keys() == {
        "description", "exact", "multires_sizes", "statistics", "timestep_ranges", "reference_faults",
    }  # fmt: skip
    assert TABLE["reference_faults"].keys() == {"batch_coupled"}
    assert all((TABLE["exact"], TABLE["multires_sizes"], TABLE["statistics"], TABLE["timestep_ranges"], COUPLED))
