"""The rules of the schedule piecewise_constant: step_rules=1:500,0.1:800,0.01 in --lr_scheduler_args."""

import math
from dataclasses import dataclass
from itertools import pairwise

from library.errors import UserError
from library.options.groups import ScheduleOptions
from library.options.key_value_arguments import parse_arguments

EXAMPLE = "step_rules=1:500,0.1:800,0.01"


@dataclass(frozen=True)
class PiecewiseRules:
    """Shares of the full learning rate."""

    steps: tuple[tuple[int, float], ...]
    """(optimizer step before which the share holds, share), in the order of steps"""
    last: float
    """holds from there on"""


def rules_of(options: ScheduleOptions) -> PiecewiseRules:
    """What --lr_scheduler_args say, in the form of diffusers: step_rules=SHARE:STEP,SHARE:STEP,...,SHARE.

    Raises:
        UserError: they do not have that form, or the steps do not rise.
    """
    text = parse_arguments(options.lr_scheduler_args or ()).get("step_rules")
    try:
        if text is None:
            raise ValueError("it is missing")
        return _read(str(text))
    except ValueError as error:
        raise UserError(
            f"--lr_scheduler piecewise_constant needs --lr_scheduler_args {EXAMPLE} (the full learning rate before "
            f"step 500, a tenth before step 800, then a hundredth): {error}"
        ) from None


def _read(text: str) -> PiecewiseRules:
    *parts, last = text.split(",")
    rules = PiecewiseRules(tuple(map(_read_rule, parts)), _read_share(last))
    steps = [step for step, _ in rules.steps]
    if 0 in steps:
        raise ValueError("no share can end at step 0")
    for earlier, later in pairwise(steps):
        if later <= earlier:
            raise ValueError(f"step {later} stands after step {earlier}, but steps must rise")
    return rules


def _read_rule(text: str) -> tuple[int, float]:
    share, _, step = text.partition(":")
    if not step.strip().isdecimal():
        raise ValueError(f"'{text.strip()}' must be SHARE:STEP")
    return int(step), _read_share(share)


def _read_share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share < math.inf:
        raise ValueError(f"'{text.strip()}' must be a share of the full learning rate")
    return share
