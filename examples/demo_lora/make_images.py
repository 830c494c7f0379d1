"""Draws the pictures of the demo LoRA: a mushroom called "sks", which the demo model has never seen.

    python examples/demo_lora/make_images.py

The pictures are in the repository already; this is how they were made.
"""

import random
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "demo_model"))

import scenes  # noqa: E402

TRAINING = HERE / "images" / "10_sks"
HELD_OUT = HERE / "held_out" / "1_sks"
SIZES = ((128, 128), (128, 192), (192, 128), (128, 128))
BACKGROUNDS = ("white", "blue", "green", "yellow", "gray", "pink")


def draw_set(folder: Path, count: int, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        background = BACKGROUNDS[number % len(BACKGROUNDS)]
        centre = (rng.uniform(0.42, 0.58), rng.uniform(0.45, 0.55))
        picture = scenes.draw_mushroom(background, rng.uniform(0.31, 0.4), centre, width, height)
        picture.save(folder / f"mushroom_{number:02d}.png", optimize=True)
        (folder / f"mushroom_{number:02d}.txt").write_text(f"a sks on {background}\n", encoding="utf-8")


if __name__ == "__main__":
    draw_set(TRAINING, count=16, seed=11)
    draw_set(HELD_OUT, count=8, seed=12)
