"""Value types that options share, each accepting what a command line and a TOML file naturally say."""

import math
from typing import Annotated, Any

from pydantic import BeforeValidator

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
        raise ValueError(f"{expected}; write {int(value)} for {int(value)} steps")
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
            raise ValueError(f"'{pair}' must have the form key=value")
    return pairs


def _dotted_extension(value: Any) -> Any:
    if isinstance(value, str) and value and not value.startswith("."):
        return "." + value
    return value


Resolution = Annotated[tuple[int, int], BeforeValidator(_parse_resolution)]
"""(width, height) in pixels."""

StepsOrShare = Annotated[int | float, BeforeValidator(_parse_steps_or_share)]
"""An int counts optimizer steps; a float below 1 is a share of all of them."""

TextList = Annotated[tuple[str, ...], BeforeValidator(_as_tuple_of_texts)]
NumberList = Annotated[tuple[float, ...], BeforeValidator(_as_tuple)]
KeyValues = Annotated[tuple[str, ...], BeforeValidator(_parse_key_values)]
"""Texts of the form key=value; a value may itself contain "="."""

FileExtension = Annotated[str, BeforeValidator(_dotted_extension)]
"""With a leading dot, which the user may leave out."""
