"""Power-function profiles against integrals that are formed step by step, and against averages of trajectories."""

import numpy as np
import pytest

from library.averaging.power_profiles import (
    WIDEST,
    Profile,
    decay_at,
    exponent_of,
    nearest_combination,
)
from library.errors import UserError

WIDTHS = (0.05, 0.10)
POINTS = 400_001


def moments_and_step(end: float):
    """The middles of many small intervals, and their length: integrals become sums."""
    step = end / POINTS
    return (np.arange(POINTS) + 0.5) * step, step


def tracked(steps) -> list[Profile]:
    return [Profile(width, float(step)) for step in steps for width in WIDTHS]


@pytest.mark.parametrize(("width", "exponent"), [(0.05, 16.97), (0.10, 6.94), (WIDEST, 0.0)])
def test_exponents_of_the_paper(width, exponent):
    assert exponent_of(width) == pytest.approx(exponent, abs=0.005)


@pytest.mark.parametrize("width", [0.01, 0.05, 0.1, 0.2, 0.288])
def test_width_is_the_relative_standard_deviation(width):
    profile = Profile(width, 300.0)
    moments, step = moments_and_step(300.0)
    density = profile.density(moments)
    assert density.sum() * step == pytest.approx(1, rel=1e-4)
    mean = (density * moments).sum() * step
    deviation = np.sqrt((density * (moments - mean) ** 2).sum() * step)
    assert deviation / 300 == pytest.approx(width, rel=1e-3)


@pytest.mark.parametrize("width", [0.0, -0.1, 0.289, 1.0, float("nan"), float("inf")])
def test_impossible_widths(width):
    with pytest.raises(UserError, match=r"is impossible; it must be above 0 and at most 0\.2887"):
        exponent_of(width)


def test_nothing_counts_after_the_end():
    density = Profile(0.1, 10.0).density(np.array([0.0, 9.999, 10.001, 20.0]))
    assert density[1] > 0.7
    assert list(density[[0, 2, 3]]) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_updates_integrate_the_profile_over_each_step(width):
    """The share of step i in the average is the profile's integral from i - 1 to i."""
    shares = np.zeros(50)
    for update in range(1, 51):
        shares *= decay_at(update, exponent_of(width))
        shares[update - 1] += 1 - decay_at(update, exponent_of(width))
    moments, step = moments_and_step(50.0)
    integrals = np.zeros(50)
    np.add.at(integrals, moments.astype(int), Profile(width, 50.0).density(moments) * step)
    np.testing.assert_allclose(shares, integrals, rtol=2e-3, atol=1e-7)
    assert shares.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("width", [0.03, 0.07, 0.15, 0.25])
def test_error_is_that_of_an_integration(width):
    combination = nearest_combination(tracked(range(100, 1001, 100)), Profile(width, 1000.0))
    moments, step = moments_and_step(1000.0)
    wanted = Profile(width, 1000.0).density(moments)
    missing = combination.density(moments) - wanted
    relative = np.sqrt((missing**2).sum() / (wanted**2).sum())
    assert combination.error == pytest.approx(relative, rel=2e-3)
    assert sum(combination.coefficients) == pytest.approx(1, abs=1e-12)
    assert combination.density(moments).sum() * step == pytest.approx(1, rel=1e-3)


def test_no_other_combination_is_nearer():
    profiles = tracked(range(50, 301, 50))
    combination = nearest_combination(profiles, Profile(0.15, 300.0))
    moments, _ = moments_and_step(300.0)
    densities = np.stack([profile.density(moments) for profile in profiles])
    wanted = Profile(0.15, 300.0).density(moments)
    best = np.linalg.norm(combination.coefficients @ densities - wanted)
    draws = np.random.default_rng(0)
    for _ in range(20):
        change = draws.normal(size=len(profiles)) * 1e-3
        other = np.array(combination.coefficients) + change - change.mean()
        assert np.linalg.norm(other @ densities - wanted) > best


@pytest.mark.parametrize(
    ("width", "most"), [(0.03, 3e-2), (0.05, 0), (0.07, 3e-3), (0.1, 0), (0.15, 6e-3), (0.2, 2e-2)]
)
def test_twenty_snapshots_are_enough(width, most):
    """The numbers in docs/averaging.md; they depend on the number of snapshots, not of steps."""
    for steps in (range(50, 1001, 50), range(500, 10_001, 500)):
        assert nearest_combination(tracked(steps), Profile(width, float(steps[-1]))).error <= most


def test_many_snapshots_are_solved_as_well():
    combination = nearest_combination(tracked(range(10, 5001, 10)), Profile(0.15, 5000.0))
    assert combination.error < 2e-5
    assert combination.magnification < 2


@pytest.mark.parametrize("width", WIDTHS)
def test_a_tracked_profile_is_itself(width):
    profiles = tracked((10, 20, 30))
    combination = nearest_combination(profiles, Profile(width, 30.0))
    assert combination.coefficients == tuple(float(profile == Profile(width, 30.0)) for profile in profiles)
    assert (combination.error, combination.magnification) == (0.0, 1.0)


@pytest.mark.parametrize("width", [0.03, 0.07, 0.15, 0.2])
def test_a_synthesised_average_is_the_one_that_would_have_been_kept(width):
    """By Cauchy and Schwarz, they differ by the profile's error times its norm times that of the trajectory at most,
    from which any constant may be taken off, since coefficients add up to 1. Rounding of float64 is far below that."""
    steps = 1000
    draws = np.random.default_rng(1)
    drift = np.linspace(0, 3, steps) ** 0.5
    trajectory = (
        drift[:, None] + 0.3 * draws.normal(size=(steps, 5)).cumsum(0) / 10 + 0.2 * draws.normal(size=(steps, 5))
    )
    averages = {one: np.zeros(5) for one in (*WIDTHS, width)}
    snapshots = []
    for update, weights in enumerate(trajectory, 1):
        for one, average in averages.items():
            decay = decay_at(update, exponent_of(one))
            averages[one] = decay * average + (1 - decay) * weights
        if update % 50 == 0:
            snapshots += [averages[one] for one in WIDTHS]
    wanted = Profile(width, float(steps))
    combination = nearest_combination(tracked(range(50, steps + 1, 50)), wanted)
    synthesised = np.array(combination.coefficients) @ np.stack(snapshots)
    moments, step = moments_and_step(float(steps))
    norm = np.sqrt((wanted.density(moments) ** 2).sum() * step)
    spread = np.linalg.norm(trajectory - trajectory.mean(0), axis=0)
    missed = np.abs(synthesised - averages[width])
    assert (missed <= combination.error * norm * spread + 1e-12).all()
    assert missed.max() < 0.02  # of weights that move by about 2
    assert np.abs(trajectory[-1] - averages[width]).max() > 0.1
