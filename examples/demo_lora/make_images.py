"""Draws the pictures of the demo LoRA.

A mushroom called "sks", which the demo model has never seen, to learn from and to measure with; and, as
regularisation, shapes that the model knows and should not forget meanwhile.

    python examples/demo_lora/make_images.py

The pictures are in the repository already; this is how they were made.
"""

import random
import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "demo_model"))

import scenes  # noqa: E402

TRAINING = HERE / "images" / "10_sks"
HELD_OUT = HERE / "held_out" / "1_sks"
REGULARISATION = HERE / "regularisation" / "1_shape"
SIZES = ((128, 128), (128, 192), (192, 128), (128, 128))
BACKGROUNDS = ("white", "blue", "green", "yellow", "gray", "pink")


def draw_mushrooms(folder: Path, count: int, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        background = BACKGROUNDS[number % len(BACKGROUNDS)]
        centre = (rng.uniform(0.42, 0.58), rng.uniform(0.45, 0.55))
        picture = scenes.draw_mushroom(background, rng.uniform(0.31, 0.4), centre, width, height)
        save(picture, f"a sks on {background}", folder / f"mushroom_{number:02d}")


def draw_known_shapes(folder: Path, count: int, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for number in range(count):
        scene = scenes.random_scene(rng)
        width, height = SIZES[number % len(SIZES)]
        save(scenes.draw_scene(scene, width, height), scenes.caption_scene(scene, rng), folder / f"shape_{number:02d}")


def save(picture: Image.Image, caption: str, path: Path) -> None:
    """A picture and its caption file, which has the same name."""
    picture.save(path.with_suffix(".png"), optimize=True)
    path.with_suffix(".txt").write_text(f"{caption}\n", encoding="utf-8")


if __name__ == "__main__":
    draw_mushrooms(TRAINING, count=16, seed=11)
    draw_mushrooms(HELD_OUT, count=8, seed=12)
    draw_known_shapes(REGULARISATION, count=56, seed=13)
