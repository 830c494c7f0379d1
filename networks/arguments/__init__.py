"""What --network_args may say to each of our kinds. Imports nothing heavy: it is checked before anything is loaded."""

from networks.arguments.checks import check_arguments, notices
from networks.arguments.kinds import DEFAULT_RANK, MODULES, NetworkArguments
from networks.arguments.parsing import Arguments, parse_arguments

__all__ = ["DEFAULT_RANK", "MODULES", "Arguments", "NetworkArguments", "check_arguments", "notices", "parse_arguments"]
