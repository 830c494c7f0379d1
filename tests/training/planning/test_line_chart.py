"""Learning rates as a picture."""

import numpy as np
import pytest
from PIL import ImageColor

from library.training.planning.line_chart import (
    BOTTOM,
    COLORS,
    LEFT,
    MOST_MARKS,
    RIGHT,
    TOP,
    Line,
    LineChart,
    draw_chart,
    nice_ticks,
)  # fmt: skip

WIDTH, HEIGHT = 400, 200


def drawn(chart: LineChart) -> np.ndarray:
    return np.asarray(draw_chart(chart, WIDTH, HEIGHT)).astype(int)


def rows_of(picture: np.ndarray, column: int, color: str) -> list[int]:
    """Where a column has about this colour."""
    distance = np.abs(picture[:, column] - ImageColor.getrgb(color)).max(axis=1)
    return np.flatnonzero(distance < 60).tolist()


def line(*rates: float) -> LineChart:
    return LineChart("", len(rates), (Line("", range(1, len(rates) + 1), rates),))


def test_a_line_goes_from_the_highest_to_zero():
    picture = drawn(line(*np.linspace(1e-4, 0, 101)))
    heights = [np.mean(rows_of(picture, column, COLORS[0])) for column in (LEFT + 2, WIDTH // 2, WIDTH - RIGHT - 3)]
    full, zero = TOP + 0.06 * (HEIGHT - TOP - BOTTOM), HEIGHT - BOTTOM
    middle = (WIDTH // 2 - LEFT) / (WIDTH - LEFT - RIGHT)
    assert heights == pytest.approx([full, full + middle * (zero - full), zero], abs=3)


def test_each_line_has_its_colour():
    lines = tuple(Line("", (1, 2), (rate, rate)) for rate in (3e-4, 2e-4, 1e-4))
    picture = drawn(LineChart("", 2, lines))
    heights = [np.mean(rows_of(picture, WIDTH // 2, color)) for color in COLORS[:3]]
    assert heights == sorted(heights)


@pytest.mark.parametrize(("marks", "differ"), [((3, 6), True), (tuple(range(1, MOST_MARKS + 2)), False), ((), False)])
@pytest.mark.parametrize("kind", ["epochs", "saves"])
def test_marks_are_drawn_unless_there_are_too_many(kind, marks, differ):
    plain = line(*[1e-4] * 100)
    marked = LineChart(plain.title, plain.num_steps, plain.lines, **{kind: marks})
    assert (drawn(marked) != drawn(plain)).any() == differ


@pytest.mark.parametrize("rates", [(1e-4,), (0.0, 0.0), (1e-300, 1e-310), (5.0,) * 3])
def test_odd_runs_are_drawn_too(rates):
    assert drawn(line(*rates)).shape == (HEIGHT, WIDTH, 3)


def test_a_long_title_leaves_the_names_of_the_lines_alone():
    lines = (Line("U-Net", (1, 2), (1e-4, 0)),)
    long, short = (drawn(LineChart(title, 2, lines)) for title in ("x" * 500, "x"))
    assert (long[: TOP - 2, -RIGHT - 45 :] == short[: TOP - 2, -RIGHT - 45 :]).all()


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (2e-3, [0, 5e-4, 1e-3, 1.5e-3, 2e-3]),
        (3e-4, [0, 1e-4, 2e-4, 3e-4]),
        (0.9, [0, 0.2, 0.4, 0.6, 0.8]),
        (0, [0]),
    ],
)
def test_ticks_are_round(highest, ticks):
    assert nice_ticks(highest, 5) == pytest.approx(ticks)
