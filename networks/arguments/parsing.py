"""From the texts of --network_args to the arguments of a kind."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

from library.errors import UserError
from library.options.key_value_arguments import written_apart
from library.options.suggestions import suggest
from networks.arguments.combinations import contradictions
from networks.arguments.declaration import declared_arguments
from networks.arguments.kinds import MODULES, NetworkArguments
from networks.targeting.presets import find_preset

Arguments = Mapping[str, Any]
"""Name -> value; texts, as the user wrote them, or what Python programs give instead. None and "None" = not given."""

_DOCUMENT = "docs/network_arguments.md"


def parse_arguments(module: str, arguments: Arguments) -> NetworkArguments:
    """
    Args:
        module: one of MODULES.

    Raises:
        UserError: arguments are unknown, have impossible values or contradict each other; with every problem.
    """
    model = MODULES[module]
    declared = declared_arguments(model)
    values: dict[str, Any] = {}
    names_given: dict[str, str] = {}
    problems = []
    for written, value in arguments.items():
        name = _present_name(model, written)
        shown = f"--network_args {written}={value}"
        if name not in declared:
            problems.append(f"{shown}: {_unknown(module, written)}")
        elif name in names_given:
            problems.append(f"{shown}: sets the same as {names_given[name]}; leave one of them out")
        elif value is not None and value != "None":
            names_given[name] = written
            try:
                _require_one(written, _as_text(value), declared.keys())
                parsed = declared[name].parse(_as_text(value))
            except ValueError as error:
                problems.append(f"{shown}: {error}")
            else:
                values[name] = not parsed if written in model.OPPOSITE_NAMES else parsed
    parsed_arguments = model(**values)
    problems += contradictions(module, parsed_arguments)
    try:
        find_preset(parsed_arguments.preset)
    except UserError as error:
        problems += error.problems
    if problems:
        raise UserError(problems)
    return parsed_arguments


def _present_name(model: type[NetworkArguments], written: str) -> str:
    return model.OLDER_NAMES.get(written) or model.OPPOSITE_NAMES.get(written) or written


def _require_one(name: str, value: str, declared: Set[str]) -> None:
    """
    Raises:
        ValueError: several arguments were written as one.
    """
    apart = written_apart(name, value, declared)
    if apart:
        raise ValueError(f"these are several arguments; give each its own quotes: --network_args {' '.join(apart)}")


def _unknown(module: str, name: str) -> str:
    own = declared_arguments(MODULES[module])
    suggestion = suggest(name, own) if name.lower() in own else _owner(name.lower()) or suggest(name, own)
    return f"{module} has no such argument.{suggestion} {_DOCUMENT} lists all of them"


def _owner(name: str) -> str:
    """Which other module has an argument."""
    owners = (other for other, model in MODULES.items() if name in {**declared_arguments(model), **model.OLDER_NAMES})
    owner = next(owners, None)
    return f" {owner} has it;" if owner else ""


def _as_text(value: Any) -> str:
    """What a program gave, as a user would have written it."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return repr(list(value)) if any(isinstance(part, str) for part in value) else ",".join(map(str, value))
    return str(value)
