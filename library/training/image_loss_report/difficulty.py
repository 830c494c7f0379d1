"""How hard each image is: its losses compared with what is usual at their timesteps."""

from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from library.training.image_loss_report.loss_table import NUM_TIMESTEPS, ImageLossTable

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]

MOST_BINS = 50
LOSSES_PER_BIN = 25
LEAST_LOSSES = 10 * LOSSES_PER_BIN
"""With fewer, the bins are so wide that an image's ratio says which timesteps were drawn for it."""
LEAST_OF_IMAGE = 5
CONFIDENCE = 0.95
_POOLED_FREEDOM = 10
"""Degrees of freedom that the scatter of all images has in that of each one: that of a few losses says little."""


@dataclass(frozen=True)
class TimestepBins:
    """Means of the losses in ranges of timesteps; arrays have the shape (bins,), and no bin is empty."""

    first: Integers
    last: Integers
    """timesteps of the range, both included"""
    count: Integers
    timestep: Floats
    """mean of those that were drawn"""
    loss: Floats
    weighted_loss: Floats


def bin_losses(table: ImageLossTable, starts: Integers) -> TimestepBins:
    """
    Args:
        starts: first timestep of each bin, ascending; the last bin ends with the schedule.
    """
    which = np.searchsorted(starts, table.timestep, side="right") - 1
    counts = np.bincount(which, minlength=len(starts))
    full = counts > 0

    def means(values: Floats | Integers) -> Floats:
        return np.bincount(which, values, len(starts))[full] / counts[full]

    ends = np.append(starts[1:], NUM_TIMESTEPS) - 1
    return TimestepBins(
        first=starts[full],
        last=ends[full],
        count=counts[full],
        timestep=means(table.timestep),
        loss=means(table.loss),
        weighted_loss=means(table.weighted_loss),
    )


def fine_bins(table: ImageLossTable) -> TimestepBins:
    """As narrow as the number of losses allows: the mean of each rests on about `LOSSES_PER_BIN` or more."""
    wanted = min(max(len(table.loss) // LOSSES_PER_BIN, 1), MOST_BINS)
    quantiles = np.quantile(table.timestep, np.linspace(0, 1, wanted, endpoint=False), method="lower")
    starts = np.unique(quantiles.astype(np.int64))
    return bin_losses(table, starts)


@dataclass(frozen=True)
class Difficulties:
    """Arrays have the shape (images,)."""

    ratio: Floats
    """mean over the image's losses of loss / usual loss at its timestep; 1 = like all images together"""
    error: Floats
    """standard error of the ratio"""
    count: Integers
    """losses of the image"""

    @property
    def is_judged(self) -> NDArray[np.bool_]:
        """Whether there are enough losses of the image, and of all together, to say anything about it."""
        enough: NDArray[np.bool_] = self.count >= LEAST_OF_IMAGE
        return enough if self.count.sum() >= LEAST_LOSSES else np.zeros_like(enough)

    @cached_property
    def is_clear(self) -> NDArray[np.bool_]:
        """Whether the ratio differs from 1 by more than chance would give to any of so many images: a moderated t-test
        (Smyth 2004) with Bonferroni's correction."""
        tail = (1 - CONFIDENCE) / 2 / len(self.ratio)
        margin = _t_quantile(tail, self.count - 1 + _POOLED_FREEDOM) * self.error
        differs: NDArray[np.bool_] = np.abs(self.ratio - 1) > margin
        return self.is_judged & differs

    def hardest_first(self) -> Integers:
        """Numbers of all images, by what their ratio is at least: those of which little is known are not in front."""
        return np.argsort(-(self.ratio - 2 * self.error), kind="stable")

    def hardest(self, most: int) -> Integers:
        """Of those above 1 that can be judged."""
        order = self.hardest_first()
        return order[(self.is_judged & (self.ratio > 1))[order]][:most]

    def easiest(self, most: int) -> Integers:
        """Of those below 1 that can be judged, the easiest first, by what their ratio is at most."""
        order = np.argsort(self.ratio + 2 * self.error, kind="stable")
        return order[(self.is_judged & (self.ratio < 1))[order]][:most]


def difficulties(table: ImageLossTable, usual: TimestepBins) -> Difficulties:
    """
    Args:
        usual: means over all images; between their timesteps the usual loss is interpolated.
    """
    expected = np.interp(table.timestep, usual.timestep, usual.loss)
    ratios = np.divide(table.loss, expected, out=np.ones_like(table.loss), where=expected > 0)
    counts = np.bincount(table.image)
    means = _sums(table.image, ratios) / counts
    squares = _sums(table.image, (ratios - means[table.image]) ** 2)
    pooled = _pooled_variance(ratios, squares, counts)
    variance = (squares + _POOLED_FREEDOM * pooled) / (counts - 1 + _POOLED_FREEDOM)
    return Difficulties(means, np.sqrt(variance / counts), counts)


def _sums(image: Integers, values: Floats) -> Floats:
    """Of each image. Shape (images,)."""
    return np.bincount(image, values).astype(np.float64)


def _pooled_variance(ratios: Floats, squares: Floats, counts: Integers) -> float:
    """Of the losses of one image around their mean; where no image has two, an upper bound: that of all losses."""
    freedom = int((counts - 1).sum())
    return float(squares.sum() / freedom) if freedom else float(ratios.var())


def _t_quantile(tail: float, freedom: Integers) -> Floats:
    """What Student's t exceeds with the probability `tail`, for 10 or more degrees of freedom to 2 % (Abramowitz and
    Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(1 - tail)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
