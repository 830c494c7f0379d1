"""How large the change of each layer is, and layers with a learning rate of their own."""

from collections.abc import Sequence
from typing import Any

from library.errors import UserError
from networks.arguments.block_lists import block_problems, block_rate_factors
from networks.arguments.kinds import NetworkArguments
from networks.targeting.patterns import matches, unmatched_patterns
from networks.targeting.targets import DiscoveredTargets, LayerSize, Target


def plan_sizes(
    targets: DiscoveredTargets, rank: int, alpha: float | None, arguments: NetworkArguments
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


def useless_ranks(sizes: Sequence[tuple[Target, LayerSize]]) -> list[str]:
    """Ranks that are larger than any change of their layers can have, as messages."""
    limits: dict[int, list[int]] = {}
    for target, size in sizes:
        limits.setdefault(size.rank, []).append(min(_as_matrix(target)))
    return [
        f"the rank {rank} is larger than the smaller side of every layer that has it ({max(of_rank)} at most): no "
        "change can have a higher rank than that, and the rest only needs memory and time; lower --network_dim, or "
        "what --network_args say instead"
        for rank, of_rank in limits.items()
        if rank > max(of_rank)
    ]


def _as_matrix(target: Target) -> tuple[int, int]:
    weight: Any = target.layer.weight
    return len(weight), weight[0].numel()


def _size(target: Target, rank: int, alpha: float, arguments: NetworkArguments) -> tuple[int, float]:
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


def pattern_rate(arguments: NetworkArguments, target: Target) -> float | None:
    """The learning rate that network_reg_lrs gives a layer, whatever the rate of its part; None if it gives none."""
    return next((rate for pattern, rate in arguments.network_reg_lrs if matches(pattern, target)), None)
