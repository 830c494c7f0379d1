"""How the texts of --network_args become values.

Each function returns a parser, which raises ValueError saying what the text must be.
"""

import ast
import math
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from library.options.suggestions import suggest
from networks.targeting.block_curves import CURVES, BlockCurve

Value = TypeVar("Value")
Parser = Callable[[str], Value]

_FLAGS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}

PatternValues = tuple[tuple[str, Value], ...]
"""(regular expression, value), in the order in which they are tried."""

_PATTERN_AND_VALUE = re.compile(r"\s*(.+?)\s*=\s*([^=,]+?)\s*(?:,|$)")
"""What stands behind an equals sign has neither equals sign nor comma; expressions may have both."""


def text() -> Parser[str]:
    def parse(value: str) -> str:
        if not value.strip():
            raise ValueError("must not be empty")
        return value.strip()

    return parse


def flag() -> Parser[bool]:
    def parse(value: str) -> bool:
        if value.strip().lower() not in _FLAGS:
            raise ValueError("must be True or False")
        return _FLAGS[value.strip().lower()]

    return parse


def choice(*names: str) -> Parser[str]:
    def parse(value: str) -> str:
        if value.strip().lower() not in names:
            raise ValueError(f"must be one of: {', '.join(names)}.{suggest(value, names)}")
        return value.strip().lower()

    return parse


def whole_number(least: int | None = None, but_not: int | None = None) -> Parser[int]:
    described = _described("a whole number", least=least) + (f", and not {but_not}" if but_not is not None else "")

    def parse(value: str) -> int:
        number = _number(value)
        if not number.is_integer() or (least is not None and number < least) or number == but_not:
            raise ValueError(f"must be {described}")
        return int(number)

    return parse


def number(least: float | None = None, above: float | None = None, below: float | None = None) -> Parser[float]:
    described = _described("a number", least, above, below)

    def parse(value: str) -> float:
        parsed = _number(value)
        too_low = (least is not None and parsed < least) or (above is not None and parsed <= above)
        if not math.isfinite(parsed) or too_low or (below is not None and parsed >= below):
            raise ValueError(f"must be {described}")
        return parsed

    return parse


def probability() -> Parser[float]:
    parse_number = number(least=0, below=1)

    def parse(value: str) -> float:
        try:
            return parse_number(value)
        except ValueError:
            raise ValueError("must be a probability, a number from 0 to less than 1") from None

    return parse


def list_of(parse_one: Parser[Value]) -> Parser[tuple[Value, ...]]:
    """Separated by commas; a comma at the end may be left."""

    def parse(value: str) -> tuple[Value, ...]:
        parts = value.strip().removesuffix(",").split(",")
        return tuple(_parse_part(parse_one, part) for part in parts)

    return parse


def _parse_part(parse_one: Parser[Value], part: str) -> Value:
    try:
        return parse_one(part)
    except ValueError as error:
        raise ValueError(f"must be a list such as 1,2,3: '{part.strip()}' {error}") from None


def block_weights() -> Parser[BlockCurve | tuple[float, ...]]:
    """A list of numbers, or the name of a curve, to which a number may be added: cosine+.25."""
    parse_list = list_of(number(least=0))

    def parse(value: str) -> BlockCurve | tuple[float, ...]:
        if value.strip()[:1].isalpha():
            return _parse_curve(value.strip())
        numbers = parse_list(value)
        if len(numbers) == 1:
            raise ValueError(f"must have a number for each block; zeros+{value.strip()} is the same for all")
        return numbers

    return parse


def _parse_curve(value: str) -> BlockCurve:
    written, _, base = value.partition("+")
    name = written.strip().lower()
    if name not in CURVES:
        raise ValueError(
            f"must be a list of numbers, or one of: {', '.join(CURVES)}, perhaps with a number added, as in "
            f"cosine+.25.{suggest(name, CURVES)}"
        )
    if "+" not in value:
        return BlockCurve(name)
    try:
        return BlockCurve(name, number(least=0)(base))
    except ValueError as error:
        raise ValueError(f"what stands behind the + {error}; as in {name}+.25") from None


def patterns() -> Parser[tuple[str, ...]]:
    """Regular expressions, separated by commas; or a list as Python writes it, for those with commas inside."""

    def parse(value: str) -> tuple[str, ...]:
        quoted = _quoted_texts(value)
        parts = quoted if quoted is not None else [part.strip() for part in value.split(",")]
        return tuple(_checked_pattern(part) for part in parts)

    return parse


def _quoted_texts(value: str) -> Sequence[str] | None:
    """['a', 'b'] or 'a'; None if the text is neither."""
    try:
        content = ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return None
    parts = content if isinstance(content, list | tuple) else [content]
    return parts if parts and all(isinstance(part, str) for part in parts) else None


def _checked_pattern(pattern: str) -> str:
    if not pattern:
        raise ValueError("must be a list of regular expressions, none of them empty")
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"'{pattern}' is no regular expression: {error}; expressions with commas inside are written as "
            '["first","second"]'
        ) from None
    return pattern


def pattern_values(parse_one: Parser[Value]) -> Parser[PatternValues[Value]]:
    """regular expression=value, separated by commas."""

    def parse(value: str) -> PatternValues[Value]:
        pairs = list(_PATTERN_AND_VALUE.finditer(value))
        if not pairs or "".join(pair[0] for pair in pairs) != value:
            raise ValueError("must have the form expression=value,expression=value")
        return tuple((_checked_pattern(pair[1]), parse_one(pair[2])) for pair in pairs)

    return parse


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


def _described(what: str, least: float | None = None, above: float | None = None, below: float | None = None) -> str:
    bounds = {"at least": least, "greater than": above, "less than": below}
    words = " and ".join(f"{name} {bound:g}" for name, bound in bounds.items() if bound is not None)
    return f"{what}, {words}" if words else what
