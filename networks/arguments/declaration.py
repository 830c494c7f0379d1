"""How an argument is declared: one field of a frozen dataclass holds its type, default, range and help."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from networks.arguments.values import Parser


@dataclass(frozen=True)
class Traits:
    """What a field of a dataclass does not know about an argument."""

    parse: Parser[Any]
    help: str


_KEY = "traits"


def argument(default: Any, parse: Parser[Any], help: str) -> Any:
    """Declares an argument.

    Args:
        parse: makes its value of the text that the user wrote.
    """
    return dataclasses.field(default=default, metadata={_KEY: Traits(parse, help)})


def declared_arguments(model: type[Any]) -> Mapping[str, Traits]:
    """Name -> traits of every argument of a kind."""
    return {field.name: field.metadata[_KEY] for field in dataclasses.fields(model)}


def default_of(model: type[Any], name: str) -> Any:
    return next(field.default for field in dataclasses.fields(model) if field.name == name)
