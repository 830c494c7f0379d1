"""Which images are hard: what is known with certainty, and what is not."""

from dataclasses import replace

import numpy as np
import pytest

from library.training.image_loss_report import difficulty
from library.training.image_loss_report.difficulty import bin_losses, difficulties, fine_bins
from tests.training.image_loss_report.tables import table_of, usual_loss


def found_in(table):
    return difficulties(table, fine_bins(table))


def test_bins():
    table = table_of([1.0], 5, timestep=np.array([0, 99, 100, 950, 999]), loss=np.array([1.0, 3.0, 5.0, 7.0, 8.0]))
    bins = bin_losses(replace(table, weighted_loss=np.full(5, 0.25)), np.array([0, 100, 200, 900]))
    assert bins.first.tolist() == [0, 100, 900]
    assert bins.last.tolist() == [99, 199, 999]
    assert bins.count.tolist() == [2, 1, 2]
    assert bins.timestep.tolist() == [49.5, 100.0, 974.5]
    assert bins.loss.tolist() == [2.0, 5.0, 7.5]
    assert bins.weighted_loss.tolist() == [0.25] * 3


@pytest.mark.parametrize(("rows", "bins"), [(1, 1), (49, 1), (50, 2), (1250, 50), (10000, 50)])
def test_bins_are_as_narrow_as_the_losses_allow(rows, bins):
    found = fine_bins(table_of([1.0], rows))
    assert len(found.count) == bins
    assert found.count.sum() == rows
    assert found.count.min() >= min(0.7 * rows / bins, rows)


def test_bins_where_few_timesteps_are_trained():
    timestep = np.repeat([10, 500], [900, 100])
    found = fine_bins(table_of([1.0], 1000, timestep=timestep, loss=np.where(timestep == 10, 4.0, 1.0)))
    assert found.first.tolist() == [10, 500]
    assert found.loss.tolist() == [4.0, 1.0]


def test_by_hand():
    """Three images, one timestep, usual loss 2."""
    loss = np.array([1.0, 2.0, 3.0, 1.0, 2.0, 3.0])
    table = table_of([1, 1, 1], 2, image=np.array([0, 0, 1, 1, 2, 2]), timestep=np.full(6, 5), loss=loss)
    found = found_in(table)
    assert found.count.tolist() == [2, 2, 2]
    assert found.ratio.tolist() == [0.75, 1.0, 1.25]
    squares = np.array([0.125, 0.5, 0.125])
    pooled = squares.sum() / 3
    assert found.error == pytest.approx(np.sqrt((squares + 10 * pooled) / 11 / 2))
    assert not found.is_clear.any()


def test_the_ratio_is_free_of_the_timesteps():
    """One image is seen at low timesteps, where losses are large, another at high ones."""
    timestep = np.concatenate([np.arange(1000), np.arange(0, 300), np.arange(700, 1000)])
    image = np.repeat([0, 1, 2], [1000, 300, 300])
    factor = np.array([1.0, 1.2, 0.8])[image]
    table = table_of([1, 1, 1], 0, image=image, timestep=timestep, loss=usual_loss(timestep) * factor)
    found = found_in(table)
    assert table.loss[image == 2].mean() < 0.2 * table.loss[image == 0].mean()
    assert found.ratio == pytest.approx([1.0, 1.2 / 1.1, 0.8 / 0.9], rel=0.02)  # the usual loss is the mean of two


def test_outliers_are_found_and_nothing_else():
    factors = np.ones(500)
    factors[[17, 123]] = 1.5, 0.7
    found = found_in(table_of(factors, 40))
    assert np.flatnonzero(found.is_clear).tolist() == [17, 123]
    assert found.hardest(1).tolist() == [17]
    assert found.easiest(1).tolist() == [123]
    assert found.ratio[17] == pytest.approx(1.5, abs=4 * found.error[17])
    assert found.error == pytest.approx(np.full(500, 0.2 / np.sqrt(3 * 40)), rel=0.6)


def test_errors_are_as_large_as_the_differences_that_chance_makes():
    found = found_in(table_of(np.ones(2000), 25, scatter=0.5))
    assert ((found.ratio - 1) / found.error).std() == pytest.approx(1.0, abs=0.1)
    assert not found.is_clear.any()


@pytest.mark.parametrize(
    ("tail", "freedom", "quantile"),
    [(0.025, 10, 2.228), (0.025, 120, 1.980), (0.0005, 10, 4.587), (0.0005, 30, 3.646), (0.00005, 20, 4.837)],
)
def test_quantiles_of_t(tail, freedom, quantile):
    """Against printed tables."""
    assert difficulty._t_quantile(tail, np.array([freedom])) == pytest.approx(quantile, rel=0.005)


@pytest.mark.parametrize("exposures", [1, 2, 3])
def test_a_few_losses_prove_nothing(exposures):
    """Two that happen to be equal are not without error."""
    found = found_in(table_of(np.ones(1000), exposures, scatter=0.9))
    assert not found.is_clear.any()
    assert found.error.min() > 0.5 * np.median(found.error)


@pytest.mark.parametrize(("images", "exposures", "judged"), [(40, 6, 0), (50, 5, 50), (250, 4, 0)])
def test_nothing_is_said_of_too_few_losses(images, exposures, judged):
    """Of all together, which cannot tell images from timesteps, or of each."""
    found = found_in(table_of([9.0, *[1.0] * (images - 1)], exposures))
    assert found.is_judged.sum() == judged
    assert found.is_clear.any() == bool(judged)
    assert bool(len(found.hardest(3))) == bool(len(found.easiest(3))) == bool(judged)


def test_images_of_which_little_is_known_are_not_in_front():
    table = table_of(np.ones(100), 50)
    loss = np.append(table.loss, usual_loss(500) * np.array([1.0, 1.3]))
    few = replace(
        table,
        images=(*table.images, "seen twice"),
        image=np.append(table.image, [100, 100]),
        timestep=np.append(table.timestep, [500, 500]),
        loss=loss,
        weighted_loss=loss,
    )
    found = found_in(few)
    assert found.ratio[100] == found.ratio.max()
    assert found.hardest(1) != 100


def test_losses_of_zero_are_as_usual():
    found = found_in(table_of([0.0, 0.0], 60))
    assert found.ratio.tolist() == [1.0, 1.0]
    assert found.error.tolist() == [0.0, 0.0]
    assert not found.is_clear.any()
