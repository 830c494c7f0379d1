"""--optimizer_args, checked against what an optimizer's class takes."""

import inspect
from collections.abc import Mapping
from typing import Any

from library.errors import UserError
from library.optimizers.known_optimizers import KnownOptimizer
from library.options.chosen_optimizer import ChosenOptimizer
from library.options.key_value_arguments import argument_problems, argument_texts

OPTION = "--optimizer_args"
_GIVEN_BY_TRAINER = ("params", "lr")


def optimizer_arguments(chosen: ChosenOptimizer, known: KnownOptimizer, optimizer_class: Any) -> dict[str, Any]:
    """What the class gets besides parameters and learning rate.

    Raises:
        UserError: with every argument that it does not know, of the wrong kind, or that contradicts its name.
    """
    given = chosen.arguments
    texts = argument_texts(chosen.options.optimizer_args or ())
    besides_rate = {name: text for name, text in texts.items() if name != "lr"}
    parameters = inspect.signature(optimizer_class).parameters
    defaults = {name: one.default for name, one in parameters.items() if one.default is not one.empty}
    own = _own_arguments(parameters, given)
    problems = argument_problems(OPTION, optimizer_class.__name__, besides_rate, own, defaults)
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


def _own_arguments(parameters: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> list[str]:
    """Names of what the class takes, besides what the trainer gives it. A class that takes any argument says itself
    what is wrong with one, if it does."""
    catch_alls = {name for name, parameter in parameters.items() if parameter.kind is parameter.VAR_KEYWORD}
    own = [name for name in parameters if name not in catch_alls.union(_GIVEN_BY_TRAINER)]
    return [*own, *(name for name in given if catch_alls and name not in own)]
