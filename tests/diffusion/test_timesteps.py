"""Timesteps: their distributions, their ends, and how evenly neighbours cover them."""

from functools import partial
from statistics import NormalDist

import pytest
import torch

from library.diffusion.timesteps import cosine, evenly_spread_draws, logit_normal, timesteps_between, uniform
from library.randomness import derive_seed

LAST = 1 - 2**-24
GRID = torch.arange(2**12) / 2**12
DISTRIBUTIONS = {
    "uniform": uniform,
    "logit-normal": partial(logit_normal, mean=0.0, std=1.0),
    "noisy": partial(logit_normal, mean=2.0, std=0.5),
    "clean and wide": partial(logit_normal, mean=-1.0, std=3.0),
    "extreme": partial(logit_normal, mean=1e4, std=1e-6),
    "cosine": cosine,
}


@pytest.mark.parametrize(
    ("share", "lowest", "limit", "expected"),
    [
        (0.0, 0, 1000, 0),
        (0.9999999, 0, 1000, 999),
        (0.5, 0, 1000, 500),
        (0.0, 100, 200, 100),
        (0.999999999, 100, 200, 199),
        (0.25, 100, 200, 125),
        (1.0 - 1e-16, 0, 1000, 999),
    ],
)
def test_timesteps(share, lowest, limit, expected):
    found = timesteps_between(torch.tensor([share], dtype=torch.float64), lowest, limit)
    assert found.dtype == torch.int64
    assert found.tolist() == [expected]


def test_all_timesteps_are_equally_likely():
    shares = torch.arange(10_000, dtype=torch.float64) / 10_000
    assert torch.bincount(timesteps_between(shares), minlength=1000).tolist() == [10] * 1000


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions_rise_within_their_bounds(name):
    ends = DISTRIBUTIONS[name](torch.tensor([0.0, 2**-24, 0.5, 1 - 2**-23, LAST]))
    assert ends.dtype == torch.float32
    for found in (ends, DISTRIBUTIONS[name](GRID)):
        assert found.isfinite().all()
        assert found.min() >= 0
        assert found.max() <= LAST
        assert (found.diff() >= 0).all()
        assert timesteps_between(found).max() <= 999
    if name != "extreme":
        assert (DISTRIBUTIONS[name](GRID).diff() > 0).all()


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 0.6), (-1.0, 2.0)])
def test_logit_normal(mean, std):
    """By its definition: the logit of what comes out is normal with that mean and deviation."""
    draws = torch.tensor([2**-24, 0.001, 0.25, 0.5, 0.9, LAST])
    expected = [NormalDist(mean, std).inv_cdf(draw) for draw in draws.double().tolist()]
    found = logit_normal(draws, mean, std).double()
    torch.testing.assert_close(found.logit(), torch.tensor(expected, dtype=torch.float64), rtol=1e-4, atol=1e-5)


def test_cosine():
    draws = GRID[1:].double()
    expected = 1 - 1 / ((torch.pi / 2 * draws).tan() + 1)
    torch.testing.assert_close(cosine(GRID[1:]).double(), expected, rtol=1e-5, atol=1e-7)
    # the density 2 / (pi - 2 pi t + 2 pi t^2) is twice as high in the middle as at the ends
    counts = torch.histc(cosine(torch.arange(10**5) / 10**5), bins=100, min=0, max=1)
    assert (counts[49:51].mean() / counts[[0, -1]].mean()).item() == pytest.approx(2, rel=0.03)


def largest_gap(draws: torch.Tensor) -> float:
    """On the circle, where 0 follows 1."""
    ordered = draws.double().sort().values
    return torch.cat([ordered.diff(), ordered[:1] + 1 - ordered[-1:]]).max().item()


@pytest.mark.parametrize("count", [*range(1, 9), 16, 100, 1000])
def test_neighbours_cover_the_range_wherever_they_begin(count):
    for start in [0, 1, 7, 1234, 10**6 + 3, 10**9]:
        draws = evenly_spread_draws(start, count, shift=derive_seed(start, "test"))
        assert draws.shape == (count,)
        assert draws.dtype == torch.float32
        assert draws.min() >= 0
        assert draws.max() <= LAST
        assert largest_gap(draws) <= 2 / count


def test_independent_draws_do_not_cover_the_range():
    gaps = [largest_gap(torch.rand(8, generator=torch.Generator().manual_seed(seed))) for seed in range(20)]
    assert sum(gap > 2 / 8 for gap in gaps) > 15


def test_batches_of_any_size_continue_one_sequence():
    whole = evenly_spread_draws(0, 24, shift=2**63)
    for size in range(1, 9):
        parts = [evenly_spread_draws(start, min(size, 24 - start), 2**63) for start in range(0, 24, size)]
        assert torch.equal(torch.cat(parts), whole)


def test_the_sequence_is_exact_far_into_a_run():
    """As the golden ratio in decimals says; the first numbers from a shift of a half."""
    first = evenly_spread_draws(0, 4, shift=2**63).tolist()
    assert first == pytest.approx([0.5, 0.1180340, 0.7360680, 0.3541020], abs=1e-6)
    # 10^15 times 0.61803398874989484820458683436563811772...
    assert evenly_spread_draws(10**15, 1, shift=0).item() == pytest.approx(0.848204586834, abs=1e-4)
