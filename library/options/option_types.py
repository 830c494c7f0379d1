"""Value types that options share, each accepting what a command line and a TOML file naturally say."""

import math
from typing import Annotated, Any

from pydantic import BeforeValidator

from library.wording import counted

SMALLEST_SIDE = 64
"""Pixels. Below this the U-Net's deepest level would have no room: 64 pixels are 8 latent cells."""


def _parse_resolution(value: Any) -> Any:
    """`512`, "512", "512,768" or [512, 768] -> (width, height)."""
    if isinstance(value, bool):
        raise ValueError("must be one whole number or 'width,height'")
    if isinstance(value, int):
        sides = [value]
    elif isinstance(value, str):
        sides = [_whole_number(part) for part in value.split(",")]
    elif isinstance(value, (list, tuple)):
        sides = [_whole_number(part) for part in value]
    else:
        raise ValueError("must be one whole number or 'width,height'")
    if len(sides) not in (1, 2):
        raise ValueError("must be one whole number or 'width,height'")
    if min(sides) < SMALLEST_SIDE:
        raise ValueError(f"must be at least {SMALLEST_SIDE} pixels on each side")
    return (sides[0], sides[-1])


def _whole_number(part: Any) -> int:
    if isinstance(part, bool) or not isinstance(part, (int, str)):
        raise ValueError("must be one whole number or 'width,height'")
    try:
        return int(part)
    except ValueError:
        raise ValueError("must be one whole number or 'width,height'") from None


def _parse_zoom_range(value: Any) -> Any:
    """ "1,3" or [1, 3] -> (1.0, 3.0)."""
    expected = "must be two numbers above 0, the smaller one first, such as 1.0,3.0"
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or len(parts) != 2 or any(isinstance(part, bool) for part in parts):
        raise ValueError(expected)
    try:
        low, high = map(float, parts)
    except (TypeError, ValueError):
        raise ValueError(expected) from None
    if not 0 < low <= high < math.inf:
        raise ValueError(expected)
    return (low, high)


def _parse_steps_or_share(value: Any) -> Any:
    """A whole number of steps, or a share of the run: 0.1 or "10%"."""
    expected = "must be a whole number of steps, a share of the run below 1 such as 0.1, or a percentage such as 10%"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(expected)
    if isinstance(value, str):
        text = value.strip()
        try:
            number = float(text.removesuffix("%"))
        except ValueError:
            raise ValueError(expected) from None
        if text.endswith("%"):
            value = _share_of_percentage(number)
        else:
            value = int(text) if text.lstrip("+-").isdecimal() else number
    if not math.isfinite(value):
        raise ValueError(expected)
    if value < 0:
        raise ValueError("must not be negative")
    if isinstance(value, float) and value >= 1:
        raise ValueError(f"{expected}; write {int(value)} for {counted(int(value), 'step')}")
    return value


def _share_of_percentage(percentage: float) -> float:
    if percentage >= 100:
        raise ValueError("must be below 100%")
    return percentage / 100


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _as_tuple_of_texts(value: Any) -> Any:
    parts = _as_tuple(value)
    if not all(isinstance(part, str) for part in parts):
        raise ValueError('must be text such as "key=value", or a list of such texts')
    return parts


def _parse_key_values(value: Any) -> Any:
    pairs = _as_tuple_of_texts(value)
    for pair in pairs:
        if "=" not in pair or not pair.split("=", 1)[0].strip():
            is_apart = len(pairs) > 1 and any(other.startswith("=") or other.endswith("=") for other in pairs)
            hint = ", without spaces around the equals sign" if is_apart else ""
            raise ValueError(f"'{pair}' must have the form key=value{hint}")
    return pairs


def _dotted_extension(value: Any) -> Any:
    return "." + value if isinstance(_not_empty(value), str) and not value.startswith(".") else value


def _not_empty(value: Any) -> Any:
    if value == "":
        raise ValueError("must not be empty; leave it out to use the default")
    return value


def _parse_replacements(value: Any) -> Any:
    """{"a": "b", "c": ["d", "e"]} -> {"a": ("b",), "c": ("d", "e")}."""
    expected = 'must be a table such as { "sks" = "sks dog", "photo" = ["picture", "image"] }'
    if not isinstance(value, dict):
        raise ValueError(expected)
    replacements = {text: _as_tuple(choices) for text, choices in value.items()}
    if not all(choices and all(isinstance(choice, str) for choice in choices) for choices in replacements.values()):
        raise ValueError(expected)
    return replacements


Resolution = Annotated[tuple[int, int], BeforeValidator(_parse_resolution)]
"""(width, height) in pixels."""

ZoomRange = Annotated[tuple[float, float], BeforeValidator(_parse_zoom_range)]
"""(least, greatest), both above 0."""

StepsOrShare = Annotated[int | float, BeforeValidator(_parse_steps_or_share)]
"""An int counts optimizer steps; a float below 1 is a share of all of them."""

TextList = Annotated[tuple[str, ...], BeforeValidator(_as_tuple_of_texts)]
NumberList = Annotated[tuple[float, ...], BeforeValidator(_as_tuple)]
KeyValues = Annotated[tuple[str, ...], BeforeValidator(_parse_key_values)]
"""Texts of the form key=value; a value may itself contain "="."""

Replacements = Annotated[dict[str, tuple[str, ...]], BeforeValidator(_parse_replacements)]
"""Text -> what may take its place; a single replacement needs no list."""

Separator = Annotated[str, BeforeValidator(_not_empty)]
"""What texts are split at."""

FileExtension = Annotated[str, BeforeValidator(_dotted_extension)]
"""With a leading dot, which the user may leave out."""
