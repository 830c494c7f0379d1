"""Power-function averages of weights, and which of them add up to another one.

Source of all of it: Karras et al. 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models" (EDM2),
arXiv 2312.02696, section 3 and appendix C.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from library.errors import UserError

Array = npt.NDArray[np.float64]
Numbers = float | Array

WIDEST = 12**-0.5
"""The relative width of the plain mean of all weights, where the exponent is 0. Wider profiles would count the start of
training more than its end."""


@dataclass(frozen=True)
class Profile:
    """How much each moment of training counts in an average: p(t) = (exponent + 1) / end * (t / end)^exponent for t
    from 0 to the end, and 0 afterwards; section 3. Its integral is 1."""

    width: float
    """sigma_rel: the standard deviation of the profile as a share of the training that it ends with"""
    end: float
    """updates, more than 0"""

    @property
    def exponent(self) -> float:
        return exponent_of(self.width)

    def density(self, moments: Array) -> Array:
        """How much each of some moments (n,) counts."""
        shares = np.clip(moments / self.end, 0, None)
        heights = (self.exponent + 1) / self.end * np.minimum(shares, 1) ** self.exponent
        return np.where(shares <= 1, heights, 0.0)


@dataclass(frozen=True)
class Combination:
    """The weighted sum of tracked profiles that is nearest to the one that is wanted."""

    tracked: tuple[Profile, ...]
    wanted: Profile
    coefficients: tuple[float, ...]
    """of the tracked profiles; their sum is 1"""
    error: float
    """norm of what is missing of the wanted profile, relative to that of the profile: 0 = reached exactly"""

    @property
    def magnification(self) -> float:
        """By how much, at most, the sum makes the rounding of its terms larger."""
        return sum(map(abs, self.coefficients))

    def density(self, moments: Array) -> Array:
        """How much each of some moments (n,) counts in the sum."""
        terms = zip(self.coefficients, self.tracked, strict=True)
        return sum((factor * profile.density(moments) for factor, profile in terms), np.zeros_like(moments))


def exponent_of(width: float) -> float:
    """gamma of sigma_rel: the largest root of (gamma + 2)^2 (gamma + 3) = (gamma + 1) / sigma_rel^2, written as a
    polynomial; appendix C.

    Raises:
        UserError: no profile that grows towards its end has this width.
    """
    if not 0 < width <= WIDEST:
        raise UserError(f"a relative width of {width:g} is impossible; it must be above 0 and at most {WIDEST:.4f}")
    inverse_square = width**-2
    roots = np.roots([1, 7, 16 - inverse_square, 12 - inverse_square])
    return max(float(roots.real.max()), 0.0)  # the widest profile's root is 0 up to rounding


def decay_at(update: int, exponent: float) -> float:
    """beta of the update, counted from 1, of an average: average = beta * average + (1 - beta) * weights; section 3.

    The first update forgets whatever the average began with. With the weights constant over each step, the average then
    is exactly the integral over the profile that ends there.
    """
    return float((1 - 1 / update) ** (exponent + 1))


def nearest_combination(tracked: Sequence[Profile], wanted: Profile) -> Combination:
    """Least squares over the profiles, in float64; appendix C, with one condition more than there: the coefficients'
    sum is 1, so that what never changed in training is what it was.

    Args:
        tracked: all different, one at least.

    Raises:
        UserError: a profile is impossible.
    """
    if wanted in tracked:
        return Combination(tuple(tracked), wanted, tuple(float(profile == wanted) for profile in tracked), 0.0)
    exponents = np.array([profile.exponent for profile in tracked])
    ends = np.array([profile.end for profile in tracked])
    products = _products(exponents[:, None], ends[:, None], exponents, ends)
    aims = _products(exponents, ends, wanted.exponent, wanted.end)
    size = np.sqrt(_products(wanted.exponent, wanted.end, wanted.exponent, wanted.end))
    # every profile is divided by its norm, or else the narrow ones would dwarf the others
    norms = np.sqrt(products.diagonal())
    products, aims, sums = products / np.outer(norms, norms), aims / norms / size, 1 / norms
    scale = np.linalg.norm(sums)  # makes the condition's numbers about as large as the others
    system = np.block([[products, (sums / scale)[:, None]], [sums / scale, np.zeros((1, 1))]])
    solution = np.linalg.lstsq(system, np.append(aims, 1 / scale / size), rcond=None)[0][:-1]
    missing = solution @ products @ solution - 2 * solution @ aims + 1
    coefficients = solution * size / norms
    return Combination(tuple(tracked), wanted, tuple(coefficients.tolist()), float(np.sqrt(max(missing, 0.0))))


def _products(exponents: Numbers, ends: Numbers, other_exponents: Numbers, other_ends: Numbers) -> Array:
    """Integrals of the products of two profiles over all moments, element by element; appendix C."""
    earlier, later = np.minimum(ends, other_ends), np.maximum(ends, other_ends)
    exponent_of_later = np.where(ends < other_ends, other_exponents, exponents)
    heights = (exponents + 1) * (other_exponents + 1) / (exponents + other_exponents + 1) / later
    return np.asarray(heights * (earlier / later) ** exponent_of_later)
