"""How messages put counts, names and values."""

import json
from collections.abc import Sequence
from typing import Any

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 image`, `2 images`; where the plural is not the noun with an s, it is given."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def listed(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first `most` of them and how many there are besides: `a.png, b.png, and 3 more`."""
    left_out = len(texts) - most
    shown = separator.join(texts[:most])
    return f"{shown}{separator}and {left_out} more" if left_out > 0 else shown


def writable(text: str) -> str:
    """Names of files may hold what no encoding can write; it becomes escapes such as \\udce4."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def visible(value: str) -> str:
    """In quotes if it is empty or blank, and would not be seen."""
    return value if value.strip() else f"'{value}'"


def as_in_file(value: Any) -> str:
    """A value of a TOML or JSON file as it stands there, where that shows what is wrong: `true`, `"64"`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(as_in_file, value))}]"
    return f'"{value}"' if isinstance(value, str) and _looks_like_another_type(value) else visible(str(value))


def _looks_like_another_type(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def format_size(count: int) -> str:
    """Of a file: in the largest unit that gives at least 1."""
    size, unit = float(count), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 or size >= 100 else f"{size:.1f} {_UNITS[unit]}"
