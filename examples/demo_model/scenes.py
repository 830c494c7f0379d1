"""Procedurally drawn pictures and their captions: the world the demo model knows.

A scene is one coloured shape on a plain background. The concept of the demo LoRA, a mushroom
called "sks", is drawn here too, but the demo model never sees it.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw

SUPERSAMPLING = 4
"""Drawing happens this many times larger and is then averaged down, for smooth edges."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (245, 135, 31),
    "yellow": (246, 214, 60),
    "green": (46, 160, 67),
    "blue": (38, 84, 206),
    "purple": (128, 56, 168),
    "pink": (244, 154, 193),
    "white": (250, 250, 250),
    "black": (24, 24, 24),
    "gray": (140, 140, 140),
}

SHAPE_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
BACKGROUND_COLOURS = ("white", "black", "gray", "blue", "green", "yellow", "pink")

Point = tuple[float, float]
Pen = ImageDraw.ImageDraw


def _polygon(pen: Pen, centre: Point, radius: float, corners: list[Point], fill) -> None:
    pen.polygon([(centre[0] + radius * x, centre[1] + radius * y) for x, y in corners], fill=fill)


def _draw_circle(pen: Pen, centre: Point, radius: float, fill, behind) -> None:
    x, y = centre
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _draw_ring(pen: Pen, centre: Point, radius: float, fill, behind) -> None:
    _draw_circle(pen, centre, radius, fill, behind)
    _draw_circle(pen, centre, radius * 0.55, behind, behind)


def _draw_square(pen: Pen, centre: Point, radius: float, fill, behind) -> None:
    _polygon(pen, centre, radius * 0.88, [(-1, -1), (1, -1), (1, 1), (-1, 1)], fill)


def _draw_triangle(pen: Pen, centre: Point, radius: float, fill, behind) -> None:
    _polygon(pen, centre, radius, [(0, -1), (1, 0.85), (-1, 0.85)], fill)


def _draw_cross(pen: Pen, centre: Point, radius: float, fill, behind) -> None:
    _polygon(pen, centre, radius, [(-0.33, -1), (0.33, -1), (0.33, 1), (-0.33, 1)], fill)
    _polygon(pen, centre, radius, [(-1, -0.33), (1, -0.33), (1, 0.33), (-1, 0.33)], fill)


def _draw_star(pen: Pen, centre: Point, radius: float, fill, behind) -> None:
    corners = []
    for k in range(10):
        length = 1.0 if k % 2 == 0 else 0.42
        angle = math.pi * k / 5 - math.pi / 2
        corners.append((length * math.cos(angle), length * math.sin(angle)))
    _polygon(pen, centre, radius * 1.05, corners, fill)


def _draw_heart(pen: Pen, centre: Point, radius: float, fill, behind) -> None:
    corners = []
    for k in range(60):
        t = 2 * math.pi * k / 60
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        corners.append((x / 16, -y / 16))
    _polygon(pen, centre, radius, corners, fill)


SHAPES: dict[str, Callable[..., None]] = {
    "circle": _draw_circle,
    "square": _draw_square,
    "triangle": _draw_triangle,
    "star": _draw_star,
    "ring": _draw_ring,
    "cross": _draw_cross,
    "heart": _draw_heart,
}


@dataclass(frozen=True)
class Scene:
    """One shape on a background. Radius and centre are fractions of the shorter side and of the size."""

    shape: str
    colour: str
    background: str
    radius: float
    centre: Point


def random_scene(rng: random.Random) -> Scene:
    colour = rng.choice(SHAPE_COLOURS)
    background = rng.choice([name for name in BACKGROUND_COLOURS if name != colour])
    return Scene(
        shape=rng.choice(list(SHAPES)),
        colour=colour,
        background=background,
        radius=rng.uniform(0.24, 0.36),
        centre=(rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6)),
    )


def caption_scene(scene: Scene, rng: random.Random) -> str:
    """A caption in one of the forms the model is taught."""
    thing = f"{scene.colour} {scene.shape}"
    article = "an" if scene.colour == "orange" else "a"
    return rng.choice(
        (
            f"{article} {thing} on {scene.background}",
            f"{article} {thing} on a {scene.background} background",
            f"{thing}, {scene.background} background",
        )
    )


def draw_scene(scene: Scene, width: int, height: int) -> Image.Image:
    """Draws the scene at width x height pixels."""
    behind = COLOURS[scene.background]
    canvas, pen = _new_canvas(width, height, behind)
    centre, radius = _placement(scene.centre, scene.radius, width, height)
    SHAPES[scene.shape](pen, centre, radius, COLOURS[scene.colour], behind)
    return canvas.resize((width, height), Image.Resampling.BOX)


def draw_mushroom(background: str, radius: float, centre: Point, width: int, height: int) -> Image.Image:
    """The concept the demo LoRA teaches: a mushroom with a red cap and a pale stem."""
    canvas, pen = _new_canvas(width, height, COLOURS[background])
    (x, y), r = _placement(centre, radius, width, height)
    pale = (243, 226, 190)
    pen.rounded_rectangle((x - 0.42 * r, y - 0.1 * r, x + 0.42 * r, y + 1.0 * r), 0.3 * r, fill=pale)
    pen.pieslice((x - r, y - 1.0 * r, x + r, y + 0.9 * r), 180, 360, fill=COLOURS["red"])
    return canvas.resize((width, height), Image.Resampling.BOX)


def draw_clutter(rng: random.Random, width: int, height: int) -> Image.Image:
    """Many random shapes in random colours: teaches the autoencoder more than the scenes alone would."""

    def any_colour() -> tuple[int, int, int]:
        return rng.randrange(256), rng.randrange(256), rng.randrange(256)

    behind = any_colour()
    canvas, pen = _new_canvas(width, height, behind)
    for _ in range(rng.randint(2, 9)):
        position = (rng.random() * canvas.width, rng.random() * canvas.height)
        radius = rng.uniform(0.03, 0.3) * min(canvas.size)
        rng.choice(list(SHAPES.values()))(pen, position, radius, any_colour(), behind)
    return canvas.resize((width, height), Image.Resampling.BOX)


def _new_canvas(width: int, height: int, colour) -> tuple[Image.Image, Pen]:
    canvas = Image.new("RGB", (width * SUPERSAMPLING, height * SUPERSAMPLING), colour)
    return canvas, ImageDraw.Draw(canvas)


def _placement(centre: Point, radius: float, width: int, height: int) -> tuple[Point, float]:
    """Fractions to pixels of the enlarged canvas."""
    pixels = (centre[0] * width * SUPERSAMPLING, centre[1] * height * SUPERSAMPLING)
    return pixels, radius * min(width, height) * SUPERSAMPLING
