"""Learning rates over the steps of a run, drawn as lines."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from library.sampling.contact_sheet import FONT_SIZE, LINE_HEIGHT
from library.training.planning.text_layout import drawable, shorten

COLORS = ("#1f5fa8", "#c1461f", "#2f7d3b", "#7a4fa0", "#8a6d1b")
"""One for each line; they tell apart in grey, too, by their labels."""
LEFT, RIGHT, TOP, BOTTOM = 78, 22, 34, 44
"""Pixels around the axes."""
MOST_MARKS = 60
"""More ends of epochs, or saves, would be a grey area."""

_SCALE = 3
"""Drawn that much larger, and then made smaller: lines become smooth."""
_AXIS, _GRID, _EPOCH = "#444444", "#dddddd", "#cfd8e3"


@dataclass(frozen=True)
class Line:
    label: str
    steps: Sequence[int]
    """from 1"""
    rates: Sequence[float]


@dataclass(frozen=True)
class LineChart:
    title: str
    num_steps: int
    """of the whole run"""
    lines: tuple[Line, ...]
    epochs: tuple[int, ...] = ()
    """steps after which an epoch ends"""
    saves: tuple[int, ...] = ()
    """steps after which a file is saved"""


def draw_chart(chart: LineChart, width: int = 960, height: int = 420) -> Image.Image:
    """
    Args:
        width, height: pixels of the picture.
    """
    drawing = _Drawing(chart, width, height)
    drawing.draw()
    return drawing.image.resize((width, height), Image.Resampling.LANCZOS)


def nice_ticks(highest: float, most: int) -> list[float]:
    """From 0 to `highest` at round distances: 1, 2 or 5 times a power of ten."""
    if highest <= 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(highest / most))
    distance = next(power * factor for factor in (1, 2, 5, 10) if power * factor * most >= highest * (1 - 1e-9))
    return [number * distance for number in range(math.floor(highest / distance * (1 + 1e-9)) + 1)]


class _Drawing:
    def __init__(self, chart: LineChart, width: int, height: int) -> None:
        self.chart = chart
        self.width, self.height = width, height
        self.highest = max((rate for line in chart.lines for rate in line.rates), default=0.0) or 1.0
        self.image = Image.new("RGB", (width * _SCALE, height * _SCALE), "white")
        self.pen = ImageDraw.Draw(self.image)
        self.font = ImageFont.load_default(FONT_SIZE * _SCALE)

    def draw(self) -> None:
        self._epochs()
        self._grid()
        for line, color in zip(self.chart.lines, _colors(), strict=False):
            self._line(line, color)
        self._saves()
        self._legend()

    def _x(self, step: float) -> float:
        """Pixel of a step from 1; a run of one step is a point on the left."""
        return LEFT + (self.width - LEFT - RIGHT) * (step - 1) / max(1, self.chart.num_steps - 1)

    def _y(self, rate: float) -> float:
        return self.height - BOTTOM - (self.height - TOP - BOTTOM) * rate / self.highest * 0.94

    def _stroke(self, points: Sequence[tuple[float, float]], color: str, thickness: float) -> None:
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self.pen.line(scaled, fill=color, width=round(thickness * _SCALE), joint="curve")

    def _text(self, x: float, y: float, text: str, anchor: str, color: str = "black") -> None:
        self.pen.text((x * _SCALE, y * _SCALE), drawable(text), fill=color, font=self.font, anchor=anchor)

    def _epochs(self) -> None:
        for step in _if_few(self.chart.epochs):
            self._stroke([(self._x(step), TOP), (self._x(step), self.height - BOTTOM)], _EPOCH, 1)

    def _grid(self) -> None:
        bottom, right = self.height - BOTTOM, self.width - RIGHT
        for rate in nice_ticks(self.highest, 5):
            self._stroke([(LEFT, self._y(rate)), (right, self._y(rate))], _GRID if rate else _AXIS, 1)
            self._text(LEFT - 8, self._y(rate), f"{rate:.4g}", "rm")
        for step in [1, *nice_ticks(self.chart.num_steps, 6)[1:]]:
            x = self._x(step)
            self._stroke([(x, bottom), (x, bottom + 5)], _AXIS, 1)
            self._text(x, bottom + 8, f"{step:g}", "ma")

    def _line(self, line: Line, color: str) -> None:
        points = [(self._x(step), self._y(rate)) for step, rate in zip(line.steps, line.rates, strict=True)]
        if len(points) > 1:
            self._stroke(points, color, 2)
        if len(points) <= 40:
            for x, y in points:
                box = ((x - 3) * _SCALE, (y - 3) * _SCALE, (x + 3) * _SCALE, (y + 3) * _SCALE)
                self.pen.ellipse(box, fill=color)

    def _saves(self) -> None:
        bottom = self.height - BOTTOM
        for step in _if_few(self.chart.saves):
            x = self._x(step)
            corners = [(x, bottom - 1), (x - 5, bottom - 9), (x + 5, bottom - 9)]
            self.pen.polygon([(across * _SCALE, down * _SCALE) for across, down in corners], fill=_AXIS)

    def _legend(self) -> None:
        x = float(self.width - RIGHT)
        labels = [(line.label, color) for line, color in zip(self.chart.lines, _colors(), strict=False) if line.label]
        for label, color in reversed(labels):
            self._text(x, TOP / 2, label, "rm", color)
            x -= self._length(label) + 18
        title = self.chart.title
        while self._length(title) > x - LEFT and len(title) > 4:
            title = shorten(title, len(title) - 1)
        self._text(LEFT, TOP / 2, title, "lm")
        marks = {
            "vertical lines: ends of epochs": _if_few(self.chart.epochs),
            "triangles: files are saved": _if_few(self.chart.saves),
        }
        notes = ["step", *(note for note, steps in marks.items() if steps)]
        self._text((LEFT + self.width - RIGHT) / 2, self.height - LINE_HEIGHT / 2, "; ".join(notes), "mm", _AXIS)

    def _length(self, text: str) -> float:
        return self.font.getlength(drawable(text)) / _SCALE


def _if_few(steps: tuple[int, ...]) -> tuple[int, ...]:
    return steps if len(steps) <= MOST_MARKS else ()


def _colors() -> Iterator[str]:
    while True:
        yield from COLORS
