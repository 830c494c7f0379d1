"""Learning-rate schedules as pure functions of the step: the share of its full rate that a group has. Needs no torch.

Steps are optimizer steps, counted from 0; the share is that with which this step is taken. Names and formulas are those
of transformers' get_scheduler and diffusers' piecewise_constant, except for REX.
"""

import math
from collections.abc import Callable, Sequence

from library.errors import UserError
from library.optimizers.schedule_lengths import count_steps
from library.options.groups import ScheduleOptions
from library.options.piecewise_rules import PiecewiseRules, rules_of

Shape = Callable[[int], float]

POLYNOMIAL_END = 1e-7
"""Learning rate at the end of the polynomial schedule, as elsewhere."""

INVERSE_SQRT_TIMESCALE = 10_000
"""Steps, where neither --lr_scheduler_timescale nor a warm-up is given."""


def shape_of(options: ScheduleOptions, max_train_steps: int, rates: Sequence[float]) -> Shape:
    """The shape that --lr_scheduler names, for all but adafactor, whose rates do not depend on the given ones.

    Args:
        max_train_steps: optimizer steps of the whole run.
        rates: --learning_rate first, then the rates of the groups.

    Raises:
        UserError: the schedule would end above the rate that it begins with.
    """
    warmup = count_steps(options.lr_warmup_steps, max_train_steps)
    length = max_train_steps - warmup
    floor = options.lr_scheduler_min_lr_ratio or 0.0
    cycles = options.lr_scheduler_num_cycles
    match options.name:
        case "linear":
            return warmed_up(warmup, lambda step: max(0.0, 1 - share(step, length)))
        case "cosine":
            return warmed_up(warmup, lambda step: half_cosine(share(step, length)))
        case "cosine_with_restarts":
            return warmed_up(warmup, lambda step: restarting_cosine(share(step, length), cycles))
        case "cosine_with_min_lr":
            return warmed_up(warmup, lambda step: above(floor, half_cosine(share(step, length) * cycles)))
        case "polynomial":
            end = _polynomial_end(rates)
            power = options.lr_scheduler_power
            return warmed_up(warmup, lambda step: above(end, max(0.0, 1 - share(step, length)) ** power))
        case "inverse_sqrt":
            timescale = options.lr_scheduler_timescale or warmup or INVERSE_SQRT_TIMESCALE
            return warmed_up(warmup, lambda step: math.sqrt(timescale / (step + timescale)))
        case "rex":
            return warmed_up(warmup, lambda step: above(floor, rex(share(step, length))))
        case "warmup_stable_decay":
            decay = count_steps(options.lr_decay_steps, max_train_steps)
            return _stable(warmup, decay, max_train_steps, floor, cycles)
        case "piecewise_constant":
            return _piecewise(rules_of(options))
    return warmed_up(warmup, lambda step: 1.0)  # constant, which has none, and constant_with_warmup


def warmed_up(warmup: int, shape: Shape) -> Shape:
    """Rises evenly from 0 over `warmup` steps; `shape` begins to count its steps then."""
    return lambda step: step / warmup if step < warmup else shape(step - warmup)


def share(step: int, length: int) -> float:
    """How much of a phase is over, 0 to 1; more than 1 after it. A phase without steps is over at once."""
    return step / length if length > 0 else 1.0


def above(floor: float, factor: float) -> float:
    """Fits 0..1 into floor..1."""
    return factor * (1 - floor) + floor


def half_cosine(halves: float) -> float:
    """1 at 0, 0 at 1, 1 at 2, ..."""
    return 0.5 * (1 + math.cos(math.pi * halves))


def restarting_cosine(done: float, cycles: int) -> float:
    """Falls from 1 to 0 once in each cycle; stays 0 when all are over (SGDR, arXiv 1608.03983, equation 5)."""
    return half_cosine(cycles * done % 1) if done < 1 else 0.0


def rex(done: float) -> float:
    """Chen et al. 2021, "REX: Revisiting Budgeted Training with an Improved Schedule", arXiv 2107.04197, section 3."""
    left = max(0.0, 1 - done)
    return left / (0.5 + 0.5 * left)


def relative_step_size(step: int, begins_small: bool) -> float:
    """Adafactor's own rate (Shazeer and Stern 2018, arXiv 1804.04235, section 9): the reciprocal root of the step, but
    at most 0.01; with warmup_init at most a millionth of the step's number."""
    number = step + 1
    return min(1e-6 * number if begins_small else 1e-2, 1 / math.sqrt(number))


def _stable(warmup: int, decay: int, max_train_steps: int, floor: float, cycles: int) -> Shape:
    """Warm-up from the lowest rate, full rate, and half cosines down to the lowest, which end with the run."""
    begin = max_train_steps - decay

    def factor(step: int) -> float:
        if step < warmup:
            return above(floor, step / warmup)
        if step < begin:
            return 1.0
        return above(floor, half_cosine(share(step - begin, decay) * cycles)) if step < max_train_steps else floor

    return factor


def _polynomial_end(rates: Sequence[float]) -> float:
    """The end as a share of the beginning. --learning_rate falls to 1e-7, and the rates of all groups by the same
    factor. The highest rate of a group stands in for a --learning_rate that is not above 1e-7, such as 0 with a rate
    for the U-Net alone."""
    highest = max(rates)
    initial = rates[0] if rates[0] > POLYNOMIAL_END else highest
    if initial <= POLYNOMIAL_END:
        raise UserError(
            f"--lr_scheduler polynomial falls to a learning rate of {POLYNOMIAL_END}, but the highest one is "
            f"{highest}: raise --learning_rate, or use --lr_scheduler linear, which falls to 0"
        )
    return POLYNOMIAL_END / initial


def _piecewise(rules: PiecewiseRules) -> Shape:
    return lambda step: next((factor for end, factor in rules.steps if step < end), rules.last)
