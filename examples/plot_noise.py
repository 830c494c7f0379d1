"""Draws the figures of docs/noise_and_timesteps.md, a few seconds.

    python examples/plot_noise.py [FOLDER]

Writes timesteps.png (how often each timestep is drawn, and how neighbouring images cover them) and noise.png (the power
of shaped noise at each size of detail).
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import matplotlib  # noqa: E402
import torch  # noqa: E402

from library.dataset.batches.draws import Draws  # noqa: E402
from library.diffusion.noise_shaping import draw_pyramid, sum_pyramid  # noqa: E402
from library.diffusion.timesteps import evenly_spread_draws  # noqa: E402
from library.options.groups import NoiseOptions, TimestepOptions  # noqa: E402
from library.training.noising import build_noising, draw_recipe  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

CPU = torch.device("cpu")
SIDE, SAMPLES, CHANNELS = 64, 200, 4
DISTRIBUTIONS = {
    "uniform": TimestepOptions(),
    "cosine": TimestepOptions(timestep_sampling="cosine"),
    "logit_normal": TimestepOptions(timestep_sampling="logit_normal"),
    "logit_normal, --logit_mean 1": TimestepOptions(timestep_sampling="logit_normal", logit_mean=1.0),
    "logit_normal, --logit_std 0.5": TimestepOptions(timestep_sampling="logit_normal", logit_std=0.5),
}
NOISES = {
    "plain": NoiseOptions(),
    "--noise_offset 0.1": NoiseOptions(noise_offset=0.1),
    "multires, 10 levels, discount 0.1": NoiseOptions(multires_noise_iterations=10, multires_noise_discount=0.1),
    "multires, 6 levels, discount 0.3": NoiseOptions(multires_noise_iterations=6, multires_noise_discount=0.3),
    "multires, 6 levels, discount 0.8": NoiseOptions(multires_noise_iterations=6, multires_noise_discount=0.8),
}


def timesteps_of(draws: torch.Tensor, options: TimestepOptions) -> torch.Tensor:
    noising = build_noising(NoiseOptions(), options, CPU)
    return noising.timesteps(Draws(noise=draws, offset=None, posterior=None, timestep=draws))


def show_distributions(axes: Axes) -> None:
    draws = torch.arange(2**20) / 2**20
    for name, options in DISTRIBUTIONS.items():
        counts = torch.histc(timesteps_of(draws, options).double(), bins=100, min=0, max=1000)
        axes.plot(torch.arange(100) * 10 + 5, counts / len(draws) * 100, label=name)
    axes.set(xlabel="timestep (999 = most noise)", ylabel="how often, uniform = 1", title="--timestep_sampling", ylim=0)
    axes.legend(fontsize=8)


def show_neighbours(axes: Axes, count: int = 48) -> None:
    independent = torch.rand(count, generator=torch.Generator().manual_seed(0))
    stratified = evenly_spread_draws(0, count, shift=2**61)
    for name, draws in (("independent", independent), ("--stratified_timesteps", stratified)):
        axes.plot(range(1, count + 1), timesteps_of(draws, TimestepOptions()), "o", markersize=4, label=name)
    axes.set(xlabel="image, in the order of training", ylabel="timestep", title="Neighbouring images", ylim=(-20, 1130))
    axes.legend(fontsize=8, ncols=2, loc="upper center")


def shaped_noise(options: NoiseOptions) -> torch.Tensor:
    """(samples, channels, side, side)"""
    generator, shape = torch.Generator().manual_seed(0), (CHANNELS, SIDE, SIDE)
    pyramid = draw_recipe(options, TimestepOptions()).pyramid
    draws = Draws(
        noise=torch.randn(SAMPLES, *shape, generator=generator),
        offset=torch.randn(SAMPLES, CHANNELS, generator=generator),
        posterior=None,
        timestep=torch.zeros(SAMPLES),
        pyramid=None
        if pyramid is None
        else torch.cat(
            [sum_pyramid(draw_pyramid(shape, pyramid.iterations, generator), pyramid.discount) for _ in range(SAMPLES)]
        ),
    )
    return build_noising(options, TimestepOptions(), CPU).noise(draws, torch.zeros(SAMPLES, *shape))


def power_by_radius(noise: torch.Tensor) -> torch.Tensor:
    """Mean power at each whole number of waves per picture, from 0; 1 for plain noise."""
    power = (torch.fft.fft2(noise).abs().square() / SIDE**2).mean(dim=(0, 1)).flatten()
    frequency = torch.fft.fftfreq(SIDE) * SIDE
    radius = (frequency[:, None].square() + frequency.square()).sqrt().round().long().flatten()
    return (torch.bincount(radius, power) / torch.bincount(radius))[: SIDE // 2 + 1]


def show_spectra(axes: Axes) -> None:
    for name, options in NOISES.items():
        axes.plot(power_by_radius(shaped_noise(options)), marker=".", label=name)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_yscale("log")
    axes.set_xticks([0, 1, 2, 4, 8, 16, 32], ["mean", "1", "2", "4", "8", "16", "32"])
    axes.set(xlabel="waves per picture (small = large shapes)", ylabel="power, plain noise = 1")
    axes.legend(fontsize=8)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    show_distributions(left)
    show_neighbours(right)
    figure.savefig(folder / "timesteps.png", dpi=90)
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    show_spectra(axes)
    figure.savefig(folder / "noise.png", dpi=90)


if __name__ == "__main__":
    main()
