"""All previews of a run on one sheet: a row for each prompt, a column for each moment."""

import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from library.errors import UserError

_PREVIEW_NAME = re.compile(r"(?:(?P<run>.+)_)?(?P<moment>e?\d{6,})_(?P<number>\d{2,})_(?P<time>\d{14})(?:_\d+)?\.png")

GAP = 8
LABEL_WIDTH = 150
HEADER_HEIGHT = 26
FONT_SIZE = 14
LINE_HEIGHT = 20
LETTERS_PER_LINE = 20


@dataclass(frozen=True)
class Preview:
    path: Path
    run: str
    """--output_name; may be empty"""
    moment: str
    """'000100' = step 100, 'e000002' = epoch 2"""
    number: int
    """position of its prompt in the prompt file"""
    time: str
    """when it was drawn: year to second"""

    @property
    def is_of_epoch(self) -> bool:
        return self.moment.startswith("e")

    @property
    def count(self) -> int:
        """finished steps or epochs"""
        return int(self.moment.removeprefix("e"))

    @property
    def heading(self) -> str:
        if self.is_of_epoch:
            return f"epoch {self.count}"
        return f"step {self.count}" if self.count else "before"


def find_previews(folder: Path) -> list[Preview]:
    """The previews of all runs in a folder.

    Raises:
        UserError: there are none.
    """
    matches = [(path, _PREVIEW_NAME.fullmatch(path.name)) for path in sorted(folder.glob("*.png"))]
    previews = [
        Preview(path, match["run"] or "", match["moment"], int(match["number"]), match["time"])
        for path, match in matches
        if match is not None
    ]
    if not previews:
        raise UserError(f"'{folder}' holds no previews; they are drawn with --sample_prompts")
    return previews


def previews_of_run(previews: Sequence[Preview], output_name: str | None) -> list[Preview]:
    """The pictures of one run, oldest first.

    Args:
        output_name: which run; None = that with the newest picture. Of several runs of that name, the last counts.

    Raises:
        UserError: no run has this name.
    """
    by_age = sorted(previews, key=lambda preview: (preview.time, preview.is_of_epoch, preview.count, preview.number))
    name = by_age[-1].run if output_name is None else output_name
    run: list[Preview] = []
    for preview in (preview for preview in by_age if preview.run == name):
        if _begins_anew(run, preview):
            run = []
        run.append(preview)
    if not run:
        names = ", ".join(f"'{name}'" for name in sorted({preview.run for preview in by_age}))
        raise UserError(f"--output_name '{output_name}': there are no pictures of it; there are some of {names}")
    return run


def _begins_anew(run: list[Preview], preview: Preview) -> bool:
    """Whether a picture that was drawn after those of `run` shows that training began anew: steps and epochs only
    grow, no picture is drawn twice, and a run draws after epochs or after steps, not both."""
    if not run:
        return False
    if preview.moment == run[-1].moment:
        return any((old.moment, old.number) == (preview.moment, preview.number) for old in run)
    if preview.is_of_epoch != run[-1].is_of_epoch:
        return run[-1].is_of_epoch or run[-1].count > 0
    return preview.count < run[-1].count


def describe_left_out(previews: Sequence[Preview], chosen: Sequence[Preview]) -> list[str]:
    """A line for each name of a run some of whose pictures were not chosen."""
    counts = Counter(preview.run for preview in set(previews) - set(chosen))
    kept = {preview.run for preview in chosen}
    return [
        f"Left out: pictures of earlier runs of '{name}' ({count})"
        if name in kept
        else f"Left out: pictures of '{name}' ({count}); --output_name '{name}' draws them"
        for name, count in sorted(counts.items())
    ]


def columns_of_moments(previews: Sequence[Preview], moments: Sequence[str]) -> dict[str, list[Preview]]:
    """Heading -> previews of that moment."""
    columns = {}
    for moment in moments:
        at_moment = [preview for preview in previews if preview.moment == moment]
        columns[at_moment[0].heading] = at_moment
    return columns


def draw_contact_sheet(columns: Mapping[str, Sequence[Preview]], prompts: Mapping[int, str]) -> Image.Image:
    """
    Args:
        columns: heading -> its previews, one for each prompt at most.
        prompts: prompt number -> text beside its row.
    """
    pictures = [{preview.number: Image.open(preview.path).convert("RGB") for preview in of} for of in columns.values()]
    numbers = sorted({number for column in pictures for number in column})
    widths = [max(picture.width for picture in column.values()) for column in pictures]
    heights = [max(column[number].height for column in pictures if number in column) for number in numbers]
    size = (
        LABEL_WIDTH + sum(widths) + GAP * (len(widths) + 1),
        HEADER_HEIGHT + sum(heights) + GAP * (len(heights) + 1),
    )
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    top = HEADER_HEIGHT + GAP
    for number, height in zip(numbers, heights, strict=True):
        text, lines = prompts.get(number, f"prompt {number}"), max(1, height // LINE_HEIGHT)
        label = "\n".join(textwrap.wrap(text, LETTERS_PER_LINE, max_lines=lines, placeholder=" ..."))
        pen.text((GAP, top), label, fill="black", font=font)
        left = LABEL_WIDTH + GAP
        for heading, column, width in zip(columns, pictures, widths, strict=True):
            pen.text((left, GAP // 2), heading, fill="black", font=font)
            if number in column:
                sheet.paste(column[number], (left, top))
            left += width + GAP
        top += height + GAP
    return sheet


def moments_in_order(previews: list[Preview]) -> list[str]:
    """Steps and epochs in the order in which they were drawn."""
    first_time: dict[str, str] = {}
    for preview in previews:
        first_time[preview.moment] = min(preview.time, first_time.get(preview.moment, preview.time))
    return sorted(first_time, key=lambda moment: (first_time[moment], moment))
