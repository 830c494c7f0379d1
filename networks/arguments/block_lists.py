"""Arguments with a number for each block of the U-Net: whether they fit a model, and its blocks' learning rates."""

from collections.abc import Iterator, Sequence

from library.errors import UserError
from library.wording import counted
from networks.arguments.kinds import NetworkArguments
from networks.targeting.block_curves import BlockCurve
from networks.targeting.blocks import LAYOUTS, BlockLayout

LISTS = ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")
"""Arguments with one number for each block of the U-Net."""


def block_rate_factors(arguments: NetworkArguments, block_count: int) -> list[float] | None:
    """What each block of the U-Net multiplies the learning rate by; None if no block differs.

    Raises:
        UserError: a list is longer than there are blocks.
    """
    problems = _too_long(arguments, block_count)
    if problems:
        raise UserError(problems)
    layout = LAYOUTS[block_count]
    lists = list(_rate_lists(arguments, layout))
    if all(weights is None for _, weights, _ in lists):
        return None
    factors = [
        0.0 if factor <= arguments.block_lr_zero_threshold else factor
        for _, weights, count in lists
        for factor in _factors(weights, count)
    ]
    return [1.0] * layout.before + factors + [1.0] * layout.after


RateList = BlockCurve | tuple[float, ...] | None


def _rate_lists(arguments: NetworkArguments, layout: BlockLayout) -> Iterator[tuple[str, RateList, int]]:
    """(argument, what it says, number of its blocks)"""
    yield "down_lr_weight", arguments.down_lr_weight, layout.down
    yield "mid_lr_weight", arguments.mid_lr_weight, layout.mid
    yield "up_lr_weight", arguments.up_lr_weight, layout.up


def _factors(weights: RateList, count: int) -> list[float]:
    """One for each block; what a list leaves out is 1, as in kohya's tool."""
    if isinstance(weights, BlockCurve):
        return weights.factors(count)
    given = list(weights or ())
    return given + [1.0] * (count - len(given))


def block_problems(arguments: NetworkArguments, block_count: int) -> list[str]:
    """What is wrong with the lists of an argument for a U-Net of so many blocks."""
    problems = []
    for name in LISTS:
        numbers: Sequence[float] | None = getattr(arguments, name)
        if numbers is not None and len(numbers) != block_count:
            problems.append(
                f"--network_args {name}: has {counted(len(numbers), 'number')}, but the U-Net of this model has "
                f"{block_count} blocks; give one number for each"
            )
    return problems + _too_long(arguments, block_count)


def _too_long(arguments: NetworkArguments, block_count: int) -> list[str]:
    return [
        f"--network_args {name}: has {len(weights)} numbers, but this part of the U-Net has {counted(count, 'block')}; "
        "give one number for each"
        for name, weights, count in _rate_lists(arguments, LAYOUTS[block_count])
        if isinstance(weights, tuple) and len(weights) > count
    ]


def short_lists(arguments: NetworkArguments, block_count: int) -> list[str]:
    """Of which arguments' lists the rest was filled up with 1, as messages."""
    return [
        f"--network_args {name}: has {counted(len(weights), 'number')} for {count} blocks; the others are 1"
        for name, weights, count in _rate_lists(arguments, LAYOUTS[block_count])
        if isinstance(weights, tuple) and len(weights) < count
    ]
