"""--optimizer_args, checked against what an optimizer's class takes."""

import inspect
from collections.abc import Mapping
from typing import Any

from library.errors import UserError
from library.optimizers.known_optimizers import KnownOptimizer
from library.options.chosen_optimizer import ChosenOptimizer
from library.options.key_value_arguments import argument_problems

OPTION = "--optimizer_args"
_GIVEN_BY_TRAINER = ("params", "lr")


def optimizer_arguments(chosen: ChosenOptimizer, known: KnownOptimizer, optimizer_class: Any) -> dict[str, Any]:
    """What the class gets besides parameters and learning rate.

    Raises:
        UserError: with every argument that it does not know, or that contradicts its name.
    """
    given = chosen.arguments
    own = _own_arguments(optimizer_class, given)
    besides_rate = {name: value for name, value in given.items() if name != "lr"}
    problems = argument_problems(OPTION, optimizer_class.__name__, besides_rate, own)
    if "lr" in given:
        problems.append(f"{OPTION} lr={given['lr']}: give it as --learning_rate")
    problems += [
        f"{OPTION} {name}={given[name]}: {known.name} means {name}={value}; leave it out"
        for name, value in known.fixed_arguments.items()
        if given.get(name, value) != value
    ]
    if problems:
        raise UserError(problems)
    arguments = {**given, **{name: value for name, value in known.default_arguments.items() if name not in given}}
    if chosen.steps_relatively:
        arguments["relative_step"] = True  # warmup_init implies it
    return arguments | dict(known.fixed_arguments)


def _own_arguments(optimizer_class: Any, given: Mapping[str, Any]) -> list[str]:
    """Names of what the class takes, besides what the trainer gives it. A class that takes any argument says itself
    what is wrong with one, if it does."""
    parameters = inspect.signature(optimizer_class).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return list(given)
    return [parameter.name for parameter in parameters if parameter.name not in _GIVEN_BY_TRAINER]
