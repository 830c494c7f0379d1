"""Pages with the pictures of the first batches and their captions: one for a browser, and sheets as image files."""

import base64
import io
from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from PIL import Image

from library.atomic_files import atomic_path, write_text_atomically
from library.dataset.images.pictures import PictureReader
from library.errors import UserError
from library.training.batch_schedule import BatchSchedule
from library.training.planning.preview_sheets import draw_sheets
from library.training.planning.shown_pictures import ShownPicture, shown_pictures
from library.wording import counted, writable

FOLDER = "dataset_preview"
PAGE = "index.html"
SHEETS = "sheet_*.png"
MOST_PICTURES = 96
_JPEG_QUALITY = 85

_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Pictures of the first batches</title>
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 24px; }
h2 { font-size: 15px; margin: 24px 0 8px; }
.batch { display: flex; flex-wrap: wrap; gap: 16px; }
figure { margin: 0; width: 256px; overflow-wrap: anywhere; }
figcaption small { color: #666; }
</style></head><body>"""


def write_preview(
    schedule: BatchSchedule, reader: PictureReader, output_dir: Path, rates: Image.Image | None = None
) -> list[str]:
    """Writes the pages into a folder of their own. Returns lines about them.

    Args:
        rates: a picture of the learning rates.

    Raises:
        UserError: they cannot be written.
    """
    folder = output_dir / FOLDER
    pictures = list(shown_pictures(schedule, reader, MOST_PICTURES))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomically(folder / PAGE, preview_page(pictures, rates))
        sheets = _write_sheets(pictures, folder)
    except OSError as error:
        raise UserError(f"--debug_dataset: '{folder}' cannot be written: {error.strerror or error}") from None
    batches = counted(pictures[-1].batch, "batch", "batches")
    return [
        f"What would be trained on first, {counted(len(pictures), 'picture')} of {batches}:",
        f"  {folder / PAGE}",
        f"  {folder / sheets[0]}" + (f" to {sheets[-1]}" if len(sheets) > 1 else ""),
    ]


def _write_sheets(pictures: Sequence[ShownPicture], folder: Path) -> list[str]:
    """File names."""
    for old in folder.glob(SHEETS):
        old.unlink()
    names = []
    for number, sheet in enumerate(draw_sheets(pictures), 1):
        names.append(SHEETS.replace("*", f"{number:02d}"))
        with atomic_path(folder / names[-1]) as temporary:
            sheet.save(temporary, format="PNG")
    return names


def preview_page(pictures: Sequence[ShownPicture], rates: Image.Image | None = None) -> str:
    """One HTML file that needs no other."""
    parts = [_HEAD, "<h1>Pictures of the first batches, as they are trained on</h1>"]
    for _, of_batch in groupby(pictures, key=lambda picture: picture.batch):
        shown = list(of_batch)
        width, height = shown[0].bucket
        parts.append(f"<h2>Batch {shown[0].batch}, step {shown[0].step}: {width}x{height}</h2>")
        parts += ['<div class="batch">', *map(_figure, shown), "</div>"]
    if rates is not None:
        parts += ["<h1>Learning rates of the run</h1>", f'<img src="{_data_url(rates, "PNG")}" alt="">']
    parts.append("</body></html>")
    return "\n".join(parts) + "\n"


def _figure(picture: ShownPicture) -> str:
    caption = _html(picture.caption) or "<em>(empty caption)</em>"
    remarks = "".join(f"; {_html(remark)}" for remark in picture.remarks)
    name = f'<small title="{_html(picture.image)}">{_html(Path(picture.image).name)}{remarks}</small>'
    image = f'<img src="{_data_url(picture.pixels)}" alt="">'
    return f"<figure>{image}<figcaption>{caption}<br>{name}</figcaption></figure>"


def _html(text: str) -> str:
    return escape(writable(text))


def _data_url(image: Image.Image, file_format: str = "JPEG") -> str:
    content = io.BytesIO()
    image.save(content, format=file_format, quality=_JPEG_QUALITY)
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
