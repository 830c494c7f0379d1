"""Arguments that are written as key=value: what they mean, and what is wrong with them. Needs no torch."""

import ast
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from library.options.suggestions import suggest

_START_OF_ANOTHER = re.compile(r"[\s,]+(\w+)=")
"""Where a value goes on with another argument that was meant to stand by itself."""

_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def parse_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """key=value texts; values are Python literals, or plain text when they are none, and may contain "="."""
    return {name: parse_value(text) for name, text in argument_texts(pairs).items()}


def argument_texts(pairs: Sequence[str]) -> dict[str, str]:
    """Key -> value as it was written."""
    split = (pair.split("=", 1) for pair in pairs)
    return {key.strip(): text for key, text in split}


def parse_value(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError):
        return text


def written_apart(name: str, text: str, known: Collection[str]) -> list[str]:
    """The arguments, each in quotes, that were written as the value of one; empty if it is one only.

    Args:
        known: names of arguments.
    """
    parts = _START_OF_ANOTHER.split(text)  # value, name, value, name, value ...
    others = parts[1::2]
    if not others or not set(others) <= set(known):
        return []
    return [f'"{one}={value}"' for one, value in zip([name, *others], parts[::2], strict=True)]


def argument_problems(
    option: str, owner: str, texts: Mapping[str, str], known: Sequence[str], defaults: Mapping[str, Any] | None = None
) -> list[str]:
    """
    Args:
        option: that holds the arguments, with its dashes.
        owner: what takes them.
        texts: values as they were written.
        known: what it takes.
        defaults: of those that have one. A value is to be of the same kind: number, truth value, or as many numbers.
    """
    problems = []
    for name, text in texts.items():
        apart = written_apart(name, text, known)
        if apart:
            problems.append(
                f"{option} {name}={text}: these are several arguments; give each its own quotes: "
                f"{option} {' '.join(apart)}"
            )
        elif name not in known:
            problems.append(
                f"{option} {name}: {owner} has no such argument; it has {', '.join(known) or 'none'}."
                f"{suggest(name, known)}"
            )
        else:
            wrong = _wrong_kind(name, text.strip(), (defaults or {}).get(name))
            problems += [f"{option} {name}={text}: {wrong}"] if wrong else []
    return problems


def _wrong_kind(name: str, text: str, default: Any) -> str:
    """What the value must be in place of what it is, or nothing. None is left to what takes the arguments."""
    value = parse_value(text)
    if value is None:
        return ""
    if _is_number(default):
        if _is_number(value):
            return ""
        point = text.replace(",", ".")
        remedy = f"write {name}={point}" if _is_number(parse_value(point)) else f"the default is {default}"
        return f"must be a number; {remedy}"
    if _are_numbers(default):
        if _are_numbers(value) and len(value) == len(default):
            return ""
        listed = ",".join(map(str, default))
        return f"must be {len(default)} numbers with commas between them, such as {name}={listed}, the default"
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return f"any text counts as true; write {name}={value.capitalize()}"
    if isinstance(default, bool) and not (isinstance(value, int) and value in (0, 1)):
        meant = _TRUTHS.get(text.lower())
        return "must be True or False" + ("" if meant is None else f"; write {name}={meant}")
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_numbers(values: Any) -> bool:
    """Several numbers, or None in place of some."""
    return isinstance(values, (tuple, list)) and bool(values) and all(one is None or _is_number(one) for one in values)
