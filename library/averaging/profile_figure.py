"""A picture of averages: how much each step of training counts in what was wanted and in what was reached."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot

from library.averaging.power_profiles import Combination

_POINTS = 2000
_GREY = "#d0d0d0"
_COLOURS = pyplot.get_cmap("tab10")


def draw_profiles(combinations: Sequence[Combination], file: Path) -> None:
    """
    Raises:
        OSError, ValueError: the file cannot be written, or its ending is of no kind of picture.
    """
    last = max(combination.wanted.end for combination in combinations)
    moments = np.linspace(0, last, _POINTS)
    figure, axes = pyplot.subplots(figsize=(10.5, 4.5), layout="constrained")
    for profile in combinations[0].tracked:
        before = moments[moments <= profile.end]
        axes.plot(before, profile.density(before), color=_GREY, linewidth=0.7, zorder=1)
    axes.plot([], [], color=_GREY, linewidth=0.7, label="snapshots")
    for number, combination in enumerate(combinations):
        colour = _COLOURS(number % _COLOURS.N)
        name = f"sigma_rel {combination.wanted.width:g}"
        axes.plot(moments, combination.wanted.density(moments), color=colour, linewidth=4, alpha=0.3, label=name)
        label = f"synthesised, error {combination.error:.2%}"
        axes.plot(moments, combination.density(moments), color=colour, linewidth=1.2, label=label)
    highest = max(float(one.wanted.density(moments).max()) for one in combinations)
    lowest = min(float(one.density(moments).min()) for one in combinations)
    axes.set_ylim(min(0.0, 1.1 * lowest), 1.25 * highest)
    axes.set(xlabel="optimizer step", ylabel="share in the average, per step", title="How much each step counts")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center")
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
