"""What --network_args may say to each of our kinds. Imports nothing heavy: it is checked before anything is loaded."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from library.errors import UserError
from library.options.suggestions import suggest

DEFAULT_RANK = 4
"""Of a LoRA without --network_dim."""

LORA_PENDING = (
    "conv_dim", "conv_alpha", "rank_dropout", "module_dropout", "block_dims", "block_alphas", "conv_block_dims",
    "conv_block_alphas", "down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold",
    "loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio",
)  # fmt: skip
"""Arguments that LoRA has elsewhere, refused until they work."""

Arguments = Mapping[str, str | float | None]
"""Name -> value; texts, as the user wrote them."""


@dataclass(frozen=True)
class LoRAArguments:
    dropout: float | None = None
    """Probability that a value between `down` and `up` is dropped in training."""


def parse_lora_arguments(arguments: Arguments) -> LoRAArguments:
    """
    Raises:
        UserError: arguments are unknown, not available yet, or have impossible values.
    """
    problems = []
    for name, value in arguments.items():
        if name in LORA_PENDING:
            problems.append(f"--network_args {name}={value}: not available in this version yet; leave it out")
        elif name != "dropout":
            known = ("dropout", *LORA_PENDING)
            problems.append(f"--network_args {name}={value}: networks.lora has no such argument.{suggest(name, known)}")
    dropout = arguments.get("dropout")
    if dropout is not None and not 0 <= _as_number(dropout) < 1:
        problems.append(f"--network_args dropout={dropout}: must be a probability, a number from 0 to less than 1")
    if problems:
        raise UserError(problems)
    return LoRAArguments(None if dropout is None else _as_number(dropout))


def _as_number(value: str | float) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


PARSERS: Mapping[str, Callable[[Arguments], object]] = {"networks.lora": parse_lora_arguments}
"""Network module -> what reads its arguments. Modules of others are not listed: they check their own."""


def check_arguments(module: str, arguments: Arguments) -> None:
    """
    Raises:
        UserError: the module is ours, and would refuse the arguments.
    """
    if module in PARSERS:
        PARSERS[module](arguments)
