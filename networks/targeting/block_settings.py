"""The size of each layer's change, and how fast each block of the U-Net is trained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from library.errors import UserError
from library.wording import counted
from networks.targeting.block_curves import BlockCurve
from networks.targeting.blocks import LAYOUTS, BlockLayout
from networks.targeting.patterns import matches, unmatched_patterns

if TYPE_CHECKING:
    from networks.arguments.kinds import NetworkArguments
    from networks.targeting.targets import DiscoveredTargets, Target

LISTS = ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")
"""Arguments with one number for each block of the U-Net."""


@dataclass(frozen=True)
class LayerSize:
    rank: int
    alpha: float
    """0 means the rank, and has become it, except where --network_alpha is a constraint"""


def plan_sizes(
    targets: "DiscoveredTargets", rank: int, alpha: float | None, arguments: "NetworkArguments"
) -> dict[str, LayerSize]:
    """Key name -> size of every layer that is adapted; what has rank 0 or is in a block of weight 0 is left out.

    Layers without a rank, as norms are, have that of linear layers in their place.

    Args:
        rank: --network_dim.
        alpha: --network_alpha; None or 0 = the rank.

    Raises:
        UserError: a list has the wrong length for this U-Net, or a pattern matches nothing.
    """
    problems = block_problems(arguments, targets.block_count)
    for name in ("network_reg_dims", "network_reg_lrs"):
        problems += unmatched_patterns(name, [pattern for pattern, _ in getattr(arguments, name)], targets)
    if problems:
        raise UserError(problems)
    factors = block_rate_factors(arguments, targets.block_count)
    sizes = {}
    for target in targets:
        own_rank, own_alpha = _size(target, rank, alpha or 0.0, arguments)
        is_off = factors is not None and target.block is not None and factors[target.block] == 0
        if own_rank and not is_off:
            needs_alpha = not own_alpha and not arguments.ALPHA_IS_CONSTRAINT
            sizes[target.name] = LayerSize(own_rank, float(own_rank) if needs_alpha else own_alpha)
    if not sizes:
        raise UserError("--network_args: the network would be empty, since every layer has rank 0 or weight 0")
    return sizes


def _size(target: "Target", rank: int, alpha: float, arguments: "NetworkArguments") -> tuple[int, float]:
    """(rank, alpha) of a layer as the most particular argument has them."""
    for pattern, own_rank in arguments.network_reg_dims:
        if matches(pattern, target):
            return own_rank, alpha
    if target.is_spatial:
        rank = rank if arguments.conv_dim is None else arguments.conv_dim
        alpha = arguments.alpha_of_convolutions(alpha)
        ranks, alphas = arguments.conv_block_dims, arguments.conv_block_alphas
    else:
        ranks, alphas = arguments.block_dims, arguments.block_alphas
    if target.block is None:
        return rank, alpha
    return rank if ranks is None else ranks[target.block], alpha if alphas is None else alphas[target.block]


def block_rate_factors(arguments: "NetworkArguments", block_count: int) -> list[float] | None:
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


def _rate_lists(arguments: "NetworkArguments", layout: BlockLayout) -> Iterator[tuple[str, RateList, int]]:
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


def block_problems(arguments: "NetworkArguments", block_count: int) -> list[str]:
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


def _too_long(arguments: "NetworkArguments", block_count: int) -> list[str]:
    return [
        f"--network_args {name}: has {len(weights)} numbers, but this part of the U-Net has {counted(count, 'block')}; "
        "give one number for each"
        for name, weights, count in _rate_lists(arguments, LAYOUTS[block_count])
        if isinstance(weights, tuple) and len(weights) > count
    ]


def short_lists(arguments: "NetworkArguments", block_count: int) -> list[str]:
    """Of which arguments' lists the rest was filled up with 1, as messages."""
    return [
        f"--network_args {name}: has {counted(len(weights), 'number')} for {count} blocks; the others are 1"
        for name, weights, count in _rate_lists(arguments, LAYOUTS[block_count])
        if isinstance(weights, tuple) and len(weights) < count
    ]


def pattern_rate(arguments: "NetworkArguments", target: "Target") -> float | None:
    """The learning rate that network_reg_lrs gives a layer, whatever the rate of its part; None if it gives none."""
    return next((rate for pattern, rate in arguments.network_reg_lrs if matches(pattern, target)), None)
