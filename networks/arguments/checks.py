"""Whether --network_args can be meant as they are, before any model is loaded."""

from collections.abc import Set

from library.errors import UserError
from networks.arguments.block_lists import block_problems, short_lists
from networks.arguments.combinations import rank_problems, without_effect
from networks.arguments.kinds import DEFAULT_RANK, MODULES
from networks.arguments.parsing import Arguments, parse_arguments


def check_arguments(
    module: str, arguments: Arguments, network_dim: int | None = None, block_count: int | None = None
) -> None:
    """
    Args:
        network_dim: rank; None = the default.
        block_count: of the U-Net, if it is known; see networks.targeting.blocks.

    Raises:
        UserError: the module is ours, and would refuse the arguments. Modules of others check their own.
    """
    if module not in MODULES:
        return
    parsed = parse_arguments(module, arguments)
    problems = rank_problems(parsed, network_dim or DEFAULT_RANK)
    if block_count is not None:
        problems += block_problems(parsed, block_count)
    if problems:
        raise UserError(problems)


def notices(
    module: str, arguments: Arguments, block_count: int | None = None, options_given: Set[str] = frozenset()
) -> list[str]:
    """What was given and has no effect, or not the one that may be expected; nothing for modules of others.

    Args:
        options_given: names of the options that the user wrote down.

    Raises:
        UserError: the module is ours, and would refuse the arguments.
    """
    if module not in MODULES:
        return []
    parsed = parse_arguments(module, arguments)
    return without_effect(parsed, options_given) + (short_lists(parsed, block_count) if block_count is not None else [])
