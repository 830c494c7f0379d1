"""The report on image losses as one HTML file that needs no other."""

import base64
import io
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from library.training.image_loss_report.difficulty import CONFIDENCE, Difficulties
from library.training.image_loss_report.loss_table import ImageLossTable
from library.training.image_loss_report.text_report import shown_name, too_few
from library.wording import counted

_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 24px; }}
img {{ max-width: 100%; }}
td, th {{ padding: 1px 12px 1px 0; text-align: right; }}
td:last-child, th:last-child {{ text-align: left; overflow-wrap: anywhere; }}
.clear {{ font-weight: bold; }}
</style></head><body>
<h1>{title}</h1>"""


def report_page(path: Path, table: ImageLossTable, found: Difficulties, figure: Figure) -> str:
    title = escape(f"Image losses of {shown_name(path.name)}")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    data = base64.b64encode(picture.getvalue()).decode("ascii")
    losses, images = counted(len(table.loss), "loss", "losses"), counted(len(table.images), "image")
    about = f"{losses} of {images}, the hardest first. " + (
        f"Bold: the ratio differs from 1 by more than chance gives to any of so many images ({CONFIDENCE:.0%} "
        "confidence)."
        if found.is_judged.any()
        else f"No ratio says anything yet: {too_few(found)}."
    )
    notes = "".join(f"<p>Left out: {escape(note)}</p>" for note in table.left_out)
    rows = "\n".join(_row(table, found, int(image)) for image in found.hardest_first())
    header = "<tr><th>ratio</th><th>error</th><th>losses</th><th>image</th></tr>"
    return "\n".join(
        (
            _HEAD.format(title=title),
            f"<p>{about}</p>{notes}",
            f'<img src="data:image/png;base64,{data}" alt="loss against timestep">',
            f"<table>{header}\n{rows}</table></body></html>\n",
        )
    )


def _row(table: ImageLossTable, found: Difficulties, image: int) -> str:
    shade = ' class="clear"' if found.is_clear[image] else ""
    numbers = f"<td>{found.ratio[image]:.3f}</td><td>{found.error[image]:.3f}</td><td>{found.count[image]}</td>"
    return f"<tr{shade}>{numbers}<td>{escape(shown_name(table.images[image]))}</td></tr>"
