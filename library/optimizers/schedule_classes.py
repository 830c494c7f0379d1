"""Learning-rate schedules that are classes: those of torch by their names, all others by their dotted paths."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from library.class_paths import find_class
from library.errors import UserError
from library.options.groups import ScheduleOptions
from library.options.groups.optimizer import FOLLOWS_A_LOSS
from library.options.key_value_arguments import argument_problems, argument_texts, parse_arguments
from library.options.suggestions import suggest

TYPE, ARGUMENTS = "--lr_scheduler_type", "--lr_scheduler_args"

_LENGTHS = ("T_max", "total_steps", "total_iters", "num_training_steps", "max_steps", "max_iters")
"""What classes call the length of the run."""

_FUNCTIONS = "it takes functions, which cannot be written as arguments; write a class of your own and name its path"
_SCHEDULES = "it takes schedules, which cannot be written as arguments; write a class of your own and name its path"
_UNUSABLE: Mapping[str, str] = {
    "LambdaLR": _FUNCTIONS, "MultiplicativeLR": _FUNCTIONS, "SequentialLR": _SCHEDULES, "ChainedScheduler": _SCHEDULES,
    "ReduceLROnPlateau": FOLLOWS_A_LOSS, "LRScheduler": "it is only what all classes have in common",
}  # fmt: skip

_ROUNDING = 1e-12
"""How far below 0 a rate that ends at 0 may come."""


def torch_classes() -> list[str]:
    """Names of torch's schedules that can be used."""
    return [name for name in lr_scheduler.__all__ if name not in _UNUSABLE]


def choose_class(options: ScheduleOptions, max_train_steps: int) -> tuple[Any, dict[str, Any]]:
    """The class that the options name, and arguments that it has.

    Raises:
        UserError: there is no such class, it is no schedule of steps, or arguments are unknown or missing.
    """
    found = _find(options.lr_scheduler_type)
    pairs = options.lr_scheduler_args or ()
    problems = _problems(found, argument_texts(pairs), max_train_steps)
    if problems:
        raise UserError(problems)
    return found, parse_arguments(pairs)


def build_class(options: ScheduleOptions, optimizer: torch.optim.Optimizer, max_train_steps: int) -> LRScheduler:
    """
    Raises:
        UserError: as choose_class, or the class refuses a value.
    """
    found, arguments = choose_class(options, max_train_steps)
    try:
        schedule: LRScheduler = found(optimizer, **arguments)
    except Exception as error:
        raise UserError(f"{ARGUMENTS}: {found.__name__} refuses its arguments: {_said(error)}") from error
    return schedule


def rehearse_class(
    options: ScheduleOptions, learning_rate: float, groups: Sequence[float], max_train_steps: int
) -> list[list[float]]:
    """Goes through all steps of the run with an optimizer that moves nothing, for the rates and for what is wrong.

    Args:
        learning_rate: the optimizer's default.
        groups: rates of its groups.

    Returns:
        For each group, the rates with which the steps are taken.

    Raises:
        UserError: as build_class, or a step of the run fails or has a rate that is no rate.
    """
    parameters = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in groups]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate)
    schedule = build_class(options, optimizer, max_train_steps)
    optimizer.step()  # else torch warns that schedules come after steps
    steps = []
    for step in range(max_train_steps):
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        if not all(-_ROUNDING <= rate < math.inf for rate in rates):
            wrong = next(rate for rate in rates if not -_ROUNDING <= rate < math.inf)
            raise UserError(f"{TYPE} {options.lr_scheduler_type}: a learning rate of {wrong} at step {step + 1}")
        steps.append(rates)
        try:
            schedule.step()
        except Exception as error:
            raise UserError(
                f"{TYPE} {options.lr_scheduler_type} fails after step {step + 1} of {max_train_steps}: {_said(error)}"
                f"{_longer(options, max_train_steps)}"
            ) from error
    return [list(rates) for rates in zip(*steps, strict=True)]


def class_notices(options: ScheduleOptions, max_train_steps: int) -> list[str]:
    """Lengths with a default that has nothing to do with the run.

    Raises:
        UserError: there is no such class.
    """
    found = _find(options.lr_scheduler_type)
    given = parse_arguments(options.lr_scheduler_args or ())
    return [
        f"{TYPE} {found.__name__}: {name} is {parameter.default} unless it is given; for the whole run, add "
        f"{ARGUMENTS} {name}={max_train_steps}"
        for name, parameter in inspect.signature(found).parameters.items()
        if name in _LENGTHS and name not in given and isinstance(parameter.default, int)
    ]


def _find(path: str) -> Any:
    """
    Raises:
        UserError: there is no such class, or it is no schedule of steps.
    """
    if "." not in path:
        names = torch_classes()
        found = getattr(lr_scheduler, path, None) if path in lr_scheduler.__all__ else None
        if found is None:
            raise UserError(
                f"{TYPE} {path}: torch.optim.lr_scheduler has no such class; it has {', '.join(names)}. Write "
                f"MODULE.CLASS for others.{suggest(path, names)}"
            )
    else:
        found = find_class(path, f"{TYPE} {path}")
    if found.__name__ in _UNUSABLE and found is getattr(lr_scheduler, found.__name__):
        raise UserError(f"{TYPE} {path}: {_UNUSABLE[found.__name__]}")
    if issubclass(found, torch.optim.Optimizer):
        raise UserError(f"{TYPE} {path}: it is no schedule, but an optimizer (--optimizer_type)")
    missing = [name for name in ("step", "state_dict", "load_state_dict") if not callable(getattr(found, name, None))]
    if missing:
        raise UserError(f"{TYPE} {path}: it is no schedule, since it lacks {', '.join(missing)}")
    wanted = _required(found.step)
    if wanted:
        raise UserError(f"{TYPE} {path}: its step() wants {', '.join(wanted)}, but a schedule here knows only the step")
    return found


def _problems(found: type, texts: Mapping[str, str], max_train_steps: int) -> list[str]:
    """Arguments that the class does not have, values of another kind than its own, and arguments that it lacks."""
    parameters = list(inspect.signature(found).parameters.values())[1:]  # the first is the optimizer
    known = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    problems = []
    if not any(one.kind is one.VAR_KEYWORD for one in parameters):
        own = [name for name in known if name != "last_epoch"]  # which is the run's
        defaults = {one.name: one.default for one in parameters if one.default is not one.empty}
        problems += argument_problems(ARGUMENTS, found.__name__, texts, own, defaults)
    needed = [one.name for one in parameters if one.name in known and one.default is one.empty]
    if found is lr_scheduler.OneCycleLR and not {"epochs", "steps_per_epoch"} & texts.keys():
        needed.append("total_steps")
    for name in needed:
        if name not in texts:
            example = f"{name}={max_train_steps}, for the whole run" if name in _LENGTHS else f"{name}=..."
            problems.append(f"{TYPE} {found.__name__} needs {name}: add {ARGUMENTS} {example}")
    return problems


def _required(method: Any) -> list[str]:
    """Names of what a method wants besides self."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return [
        one.name
        for one in parameters
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]


def _longer(options: ScheduleOptions, max_train_steps: int) -> str:
    """The remedy where the schedule was given a length below that of the run, or nothing."""
    given = parse_arguments(options.lr_scheduler_args or ())
    short = [name for name in _LENGTHS if isinstance(given.get(name), int) and given[name] < max_train_steps]
    return f"; give {ARGUMENTS} {short[0]}={max_train_steps}, for the whole run" if short else ""


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
