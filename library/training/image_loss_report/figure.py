"""The picture of the image losses: loss against timestep, and the images that differ."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from library.training.image_loss_report.difficulty import Difficulties, TimestepBins
from library.training.image_loss_report.loss_table import ImageLossTable
from library.training.image_loss_report.text_report import shown_name, too_few

MOST_DOTS = 20_000
MOST_COLOURED = 4
"""Of the hardest images, and as many of the easiest."""
_LONGEST_NAME = 36
_FONTS = ["DejaVu Sans", "Noto Sans CJK JP", "Yu Gothic", "Microsoft YaHei", "Hiragino Sans", "Arial Unicode MS"]
"""The first one that has a letter draws it."""


def draw_losses(table: ImageLossTable, usual: TimestepBins, found: Difficulties, most: int) -> Figure:
    """
    Args:
        most: images shown of the hardest, and of the easiest.
    """
    with matplotlib.rc_context(_style()):
        figure = Figure(figsize=(14, 6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(5, 4))
        colours = _colours(found)
        _draw_timesteps(left, table, usual, colours)
        _draw_ratios(right, table, found, most, colours)
        figure.canvas.draw()  # names are set in this style
    return figure


def _style() -> Any:
    """A $ in a name is no formula. matplotlib complains of each font that is not installed."""
    installed = set(font_manager.get_font_names())
    return {"text.parse_math": False, "font.family": [name for name in _FONTS if name in installed]}


def _colours(found: Difficulties) -> dict[int, Any]:
    """Of the images that stand out most, by their numbers: red shades for the hardest, green ones for the easiest."""
    shades = np.linspace(0.95, 0.55, MOST_COLOURED)
    colours: dict[int, Any] = {}
    for images, palette in (
        (found.hardest(MOST_COLOURED), matplotlib.colormaps["Reds"]),
        (found.easiest(MOST_COLOURED), matplotlib.colormaps["Greens"]),
    ):
        shaded = zip(images, palette(shades), strict=False)
        colours |= {int(image): shade for image, shade in shaded if found.is_clear[image]}
    return colours


def _draw_timesteps(axes: Axes, table: ImageLossTable, usual: TimestepBins, colours: dict[int, Any]) -> None:
    shown = np.arange(0, len(table.loss), -(-len(table.loss) // MOST_DOTS))
    axes.scatter(table.timestep[shown], table.loss[shown], s=4, color="#b8c4d6", linewidths=0, rasterized=True)
    for image, colour in colours.items():
        rows = table.image == image
        axes.scatter(table.timestep[rows], table.loss[rows], s=14, color=[colour], linewidths=0)
    axes.set(xlabel="timestep", ylabel="loss before weighting", yscale="log", title="Loss of each image of each step")
    if len(usual.timestep) > 1:  # a single mean is no line
        axes.plot(usual.timestep, usual.loss, color="#1f4e9c", linewidth=2, label="mean of all images")
        axes.legend(loc="upper right")
    axes.grid(alpha=0.3)


def _draw_ratios(axes: Axes, table: ImageLossTable, found: Difficulties, most: int, colours: dict[int, Any]) -> None:
    if len(table.images) > 1 and not found.is_judged.any():
        axes.set_axis_off()
        axes.text(0.5, 0.5, too_few(found), transform=axes.transAxes, ha="center", va="center", wrap=True)
        return
    images = [*found.hardest(most), *found.easiest(most)[::-1]]
    rows = range(len(images))
    for row, image in zip(rows, images, strict=True):
        colour = colours.get(image, "#8090a8")
        ratio, reach = found.ratio[image], 2 * found.error[image]
        below = min(reach, ratio)  # no loss is below 0
        axes.errorbar(ratio, row, xerr=[[below], [reach]], fmt="o", color=colour, capsize=2)
    axes.axvline(1, color="#1f4e9c", linewidth=1)
    axes.set_yticks(rows, [_short(shown_name(table.images[image])) for image in images])
    axes.set(
        xlabel="loss / usual loss at the same timesteps",
        title="The hardest and the easiest images (bars: 2 standard errors)",
    )
    axes.invert_yaxis()
    axes.grid(alpha=0.3, axis="x")


def _short(name: str) -> str:
    """The end of a long name: what tells images of a folder apart."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[-_LONGEST_NAME:]}"
