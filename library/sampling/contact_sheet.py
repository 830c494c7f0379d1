"""All previews of a run on one sheet: a row for each prompt, a column for each moment."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from library.errors import UserError

_PREVIEW_NAME = re.compile(r"(?:(?P<run>.+)_)?(?P<moment>e?\d{6})_(?P<number>\d{2})_(?P<time>\d{14})(?:_\d+)?\.png")

GAP = 8
LABEL_WIDTH = 150
HEADER_HEIGHT = 26
FONT_SIZE = 14
LETTERS_PER_LINE = 20


@dataclass(frozen=True)
class Preview:
    path: Path
    moment: str
    """'000100' = step 100, 'e000002' = epoch 2"""
    number: int
    """position of its prompt in the prompt file"""
    time: str

    @property
    def heading(self) -> str:
        if self.moment.startswith("e"):
            return f"epoch {int(self.moment[1:])}"
        return f"step {int(self.moment)}" if int(self.moment) else "before"


def find_previews(folder: Path) -> list[Preview]:
    """The previews in a folder; of those with the same prompt and moment only the newest.

    Raises:
        UserError: there are none.
    """
    newest: dict[tuple[str, int], Preview] = {}
    for path in sorted(folder.glob("*.png")):
        match = _PREVIEW_NAME.fullmatch(path.name)
        if match is None:
            continue
        preview = Preview(path, match["moment"], int(match["number"]), match["time"])
        key = (preview.moment, preview.number)
        if key not in newest or newest[key].time < preview.time:
            newest[key] = preview
    if not newest:
        raise UserError(f"'{folder}' holds no previews; they are drawn with --sample_prompts")
    return list(newest.values())


def draw_contact_sheet(previews: list[Preview], prompts: dict[int, str], moments: list[str]) -> Image.Image:
    """
    Args:
        prompts: prompt number -> text beside its row.
        moments: which columns to draw, in this order.
    """
    chosen = [preview for preview in previews if preview.moment in moments]
    pictures = {(preview.number, preview.moment): Image.open(preview.path).convert("RGB") for preview in chosen}
    numbers = sorted({number for number, _ in pictures})
    widths = [max(picture.width for (_, at), picture in pictures.items() if at == moment) for moment in moments]
    heights = [max(picture.height for (row, _), picture in pictures.items() if row == number) for number in numbers]
    size = (
        LABEL_WIDTH + sum(widths) + GAP * (len(widths) + 1),
        HEADER_HEIGHT + sum(heights) + GAP * (len(heights) + 1),
    )
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    headings = {preview.moment: preview.heading for preview in chosen}
    top = HEADER_HEIGHT + GAP
    for number, height in zip(numbers, heights, strict=True):
        label = "\n".join(textwrap.wrap(prompts.get(number, f"prompt {number}"), LETTERS_PER_LINE))
        pen.text((GAP, top), label, fill="black", font=font)
        left = LABEL_WIDTH + GAP
        for moment, width in zip(moments, widths, strict=True):
            pen.text((left, GAP // 2), headings[moment], fill="black", font=font)
            if (number, moment) in pictures:
                sheet.paste(pictures[number, moment], (left, top))
            left += width + GAP
        top += height + GAP
    return sheet


def moments_in_order(previews: list[Preview]) -> list[str]:
    """Steps and epochs in the order in which they were drawn."""
    first_time: dict[str, str] = {}
    for preview in previews:
        first_time[preview.moment] = min(preview.time, first_time.get(preview.moment, preview.time))
    return sorted(first_time, key=lambda moment: (first_time[moment], moment))
