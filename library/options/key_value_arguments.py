"""Arguments that are written as key=value: what they mean, and what is wrong with them. Needs no torch."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from library.options.suggestions import suggest


def parse_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """key=value texts; values are Python literals, or plain text when they are none, and may contain "="."""
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, value = pair.split("=", 1)
        try:
            arguments[key.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, TypeError):
            arguments[key.strip()] = value
    return arguments


def argument_problems(option: str, owner: str, arguments: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    """
    Args:
        option: that holds the arguments, with its dashes.
        owner: what takes them.
        known: what it takes.
    """
    problems = [
        f"{option} {key}: {owner} has no such argument; it has {', '.join(known) or 'none'}.{suggest(key, known)}"
        for key in arguments
        if key not in known
    ]
    problems += [
        f"{option} {key}={value}: any text counts as true; write {key}={value.capitalize()}"
        for key, value in arguments.items()
        if isinstance(value, str) and value.lower() in ("true", "false")
    ]
    return problems
