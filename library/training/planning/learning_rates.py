"""The learning rates that a run would have."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from library.errors import UserError
from library.optimizers.known_optimizers import find_optimizer
from library.optimizers.schedule_lengths import count_warmup
from library.optimizers.schedule_words import describe_schedule
from library.optimizers.scheduled_rates import schedule_beside, scheduled_rates
from library.options.chosen_optimizer import ChosenOptimizer
from library.options.groups import OptimizerOptions
from library.options.part_rates import part_rates
from library.options.schema import Settings

MOST_POINTS = 1000
"""Of a curve."""


@dataclass(frozen=True)
class RateCurve:
    parts: tuple[str, ...]
    """of the network that have these rates, before --network_args change any"""
    highest: float
    lowest: float
    """after the highest"""
    last: float
    rates: tuple[float, ...]
    """with which the steps of LearningRateFigures are taken"""


@dataclass(frozen=True)
class LearningRateFigures:
    optimizer: str
    finds_rate: bool
    """the optimizer multiplies the rates by a factor that it estimates"""
    learning_rate: float
    schedule: str
    """in words"""
    warmup_steps: int
    steps: tuple[int, ...]
    """that the curves have points for, from 1"""
    curves: tuple[RateCurve, ...]
    """empty = they depend on how many groups the network has"""


def learning_rate_figures(settings: Settings, max_train_steps: int) -> LearningRateFigures:
    """
    Raises:
        UserError: there is no such schedule, or the run cannot go through it.
    """
    optimizer = settings.optimizer
    schedule = schedule_beside(optimizer, settings.schedule)
    parts = parts_by_rate(settings)
    if ChosenOptimizer(optimizer).steps_relatively:
        parts = {0.0: tuple(name for names in parts.values() for name in names)}  # whatever their rates are
    rates = scheduled_rates(schedule, optimizer, list(parts), max_train_steps)
    shown = evenly_spread(max_train_steps, MOST_POINTS)
    return LearningRateFigures(
        optimizer=_name(optimizer),
        finds_rate=ChosenOptimizer(optimizer).finds_rate,
        learning_rate=optimizer.learning_rate,
        schedule=describe_schedule(schedule, max_train_steps),
        warmup_steps=count_warmup(schedule, max_train_steps),
        steps=tuple(step + 1 for step in shown),
        curves=() if rates is None else tuple(map(partial(_curve, shown), parts.values(), rates)),
    )


def parts_by_rate(settings: Settings) -> dict[float, tuple[str, ...]]:
    """Learning rate -> the parts of the network that are trained with it."""
    found: dict[float, tuple[str, ...]] = {}
    for part in part_rates(settings.network, settings.optimizer):
        for number, rate in enumerate(part.rates, 1):
            name = part.part if len(part.rates) == 1 else f"{part.part.removesuffix('s')} {number}"
            found[rate] = (*found.get(rate, ()), name)
    return found


def evenly_spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers below `count`, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(point * (count - 1) / (most - 1)) for point in range(most)]


def _curve(shown: Sequence[int], parts: tuple[str, ...], rates: Sequence[float]) -> RateCurve:
    highest = max(rates)
    return RateCurve(
        parts=parts,
        highest=highest,
        lowest=min(rates[rates.index(highest) :]),
        last=rates[-1],
        rates=tuple(rates[step] for step in shown),
    )


def _name(optimizer: OptimizerOptions) -> str:
    try:
        return find_optimizer(optimizer).name
    except UserError:  # which is among the problems
        return ChosenOptimizer(optimizer).name
