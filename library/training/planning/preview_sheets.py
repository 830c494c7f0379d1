"""The pictures of the first batches on sheets that any image viewer shows."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from library.sampling.contact_sheet import FONT_SIZE, GAP, LINE_HEIGHT
from library.training.planning.shown_pictures import LONGEST_SIDE, ShownPicture
from library.training.planning.text_layout import drawable

COLUMNS, ROWS = 6, 4
CAPTION_LINES = 5
LETTERS_PER_LINE = 36

_CELL_WIDTH = LONGEST_SIDE + GAP
_TEXT_HEIGHT = (CAPTION_LINES + 2) * LINE_HEIGHT


def draw_sheets(pictures: Sequence[ShownPicture]) -> Iterator[Image.Image]:
    per_sheet = COLUMNS * ROWS
    for start in range(0, len(pictures), per_sheet):
        yield _draw_sheet(pictures[start : start + per_sheet])


def _draw_sheet(pictures: Sequence[ShownPicture]) -> Image.Image:
    rows = [pictures[start : start + COLUMNS] for start in range(0, len(pictures), COLUMNS)]
    heights = [max(picture.pixels.height for picture in row) + _TEXT_HEIGHT + GAP for row in rows]
    sheet = Image.new("RGB", (len(rows[0]) * _CELL_WIDTH + GAP, sum(heights) + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            left = GAP + column * _CELL_WIDTH
            sheet.paste(picture.pixels, (left, top))
            pen.text((left, top + height - _TEXT_HEIGHT - GAP), "\n".join(_lines(picture)), fill="black", font=font)
        top += height
    return sheet


def _lines(picture: ShownPicture) -> list[str]:
    width, height = picture.bucket
    remarks = "".join(f", {remark}" for remark in picture.remarks)
    caption = textwrap.wrap(
        drawable(picture.caption) or "(empty caption)", LETTERS_PER_LINE, max_lines=CAPTION_LINES, placeholder=" ..."
    )
    return [
        textwrap.shorten(f"batch {picture.batch}: {width}x{height}{remarks}", LETTERS_PER_LINE, placeholder=" ..."),
        drawable(Path(picture.image).name)[:LETTERS_PER_LINE],
        *caption,
    ]
