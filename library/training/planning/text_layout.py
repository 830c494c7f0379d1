"""Lines of plain text: tables, paragraphs, sizes."""

import textwrap
from collections.abc import Sequence

WIDTH = 118
"""Letters in a line of running text."""


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: frozenset[int] = frozenset()) -> list[str]:
    """Aligned columns, to the right except those numbered in `left`. Columns without any entry are left out."""
    shown = [column for column in range(len(headings)) if any(row[column] for row in rows)]
    widths = {column: max(len(row[column]) for row in (headings, *rows)) for column in shown}

    def line(row: Sequence[str]) -> str:
        cells = (
            row[column].ljust(widths[column]) if column in left else row[column].rjust(widths[column])
            for column in shown
        )
        return "  ".join(cells).rstrip()

    return [line(row) for row in (headings, *rows)]


def paragraph(text: str, bullet: str = "") -> list[str]:
    """Wrapped, with the lines after the first indented like its text. Lines that it has stay lines; paths stay in one
    piece."""
    lines: list[str] = []
    for line in text.split("\n"):
        start = " " * len(bullet) if lines else bullet
        indent = start + " " * (len(line) - len(line.lstrip()))
        lines += textwrap.wrap(
            line.strip(),
            WIDTH,
            initial_indent=indent,
            subsequent_indent=" " * len(indent),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 4]} ..."


def drawable(text: str) -> str:
    """Pillow's font has the letters of ASCII. Others are written as escapes, such as \\xfc; pages for browsers have
    them all."""
    return text.encode("ascii", "backslashreplace").decode("ascii")
