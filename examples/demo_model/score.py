"""Scores the demo model: does "a red circle on white" give a red circle on white?

    python examples/demo_model/score.py --model examples/demo_model/model [--sheet pictures.png]

Draws 100 prompts of known shapes and colours and looks at each picture: the shape is found by comparing its
outline with that of every shape, the colours by taking the nearest by name. Exit code 1 below the goal.
"""

import argparse
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import scenes
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from tqdm import tqdm

GOAL = 0.8
NUM_PROMPTS = 100
BATCH_SIZE = 25
STEPS = 20
GUIDANCE = 5.0
SIDE = 128
OUTLINE_SIDE = 48
BORDER = 6
"""pixels at the edge that are taken for background"""

DIFFERENT = 70
"""distance in RGB from which a pixel is not background"""


@dataclass(frozen=True)
class Verdict:
    shape: str
    colour: str
    background: str


def judge(pixels: np.ndarray) -> Verdict:
    """What a picture, uint8 (height, width, 3), seems to show."""
    values = pixels.astype(float)
    edge = np.ones(values.shape[:2], bool)
    edge[BORDER:-BORDER, BORDER:-BORDER] = False
    behind = np.median(values[edge], axis=0)
    shape = largest_part(np.linalg.norm(values - behind, axis=2) > DIFFERENT)
    if shape.sum() < 50:
        return Verdict("nothing", "nothing", nearest_colour(behind))
    outline = normalised_outline(shape)
    return Verdict(
        max(OUTLINES, key=lambda name: overlap(outline, OUTLINES[name])),
        nearest_colour(np.median(values[shape], axis=0)),
        nearest_colour(behind),
    )


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The mask without specks: the largest of its connected parts."""
    _, labels, parts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = parts[1:, cv2.CC_STAT_AREA]
    return labels == 1 + int(areas.argmax()) if len(areas) else mask


def nearest_colour(colour: np.ndarray) -> str:
    return min(scenes.COLOURS, key=lambda name: float(np.linalg.norm(colour - np.array(scenes.COLOURS[name]))))


def normalised_outline(mask: np.ndarray) -> np.ndarray:
    """The shape cut out and scaled to a square."""
    rows, columns = np.where(mask.any(1))[0], np.where(mask.any(0))[0]
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(Image.fromarray(cut).resize((OUTLINE_SIDE, OUTLINE_SIDE)))


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def _outline_of(shape: str) -> np.ndarray:
    scene = scenes.Scene(shape, "black", "white", 0.35, (0.5, 0.5))
    return normalised_outline(np.asarray(scenes.draw_scene(scene, SIDE, SIDE)).mean(2) < 128)


OUTLINES = {shape: _outline_of(shape) for shape in scenes.SHAPES}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path(__file__).parent / "model")
    parser.add_argument("--lora", type=Path, help="network file to load first: does the model still know its shapes?")
    parser.add_argument("--sheet", type=Path, help="PNG file for all pictures")
    options = parser.parse_args()
    pipeline = StableDiffusionPipeline.from_pretrained(options.model, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    if options.lora:
        pipeline.load_lora_weights(str(options.lora))
    rng = random.Random(2026)
    wanted = [scenes.random_scene(rng) for _ in range(NUM_PROMPTS)]
    pictures: list[Image.Image] = []
    for start in tqdm(range(0, NUM_PROMPTS, BATCH_SIZE), desc="drawing"):
        batch = wanted[start : start + BATCH_SIZE]
        generator = torch.Generator().manual_seed(start)
        pictures += pipeline(
            [scenes.caption_scene(scene, rng) for scene in batch],
            width=SIDE, height=SIDE, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generator,
        ).images  # fmt: skip
    verdicts = [judge(np.asarray(picture)) for picture in pictures]
    shapes = [scene.shape == verdict.shape for scene, verdict in zip(wanted, verdicts, strict=True)]
    colours = [scene.colour == verdict.colour for scene, verdict in zip(wanted, verdicts, strict=True)]
    backgrounds = [scene.background == verdict.background for scene, verdict in zip(wanted, verdicts, strict=True)]
    both = [shape and colour for shape, colour in zip(shapes, colours, strict=True)]
    for name, hits in (("shape", shapes), ("colour", colours), ("background", backgrounds), ("shape+colour", both)):
        print(f"{name:13} {sum(hits)} of {len(hits)}")
    for scene, verdict in zip(wanted, verdicts, strict=True):
        if (scene.shape, scene.colour) != (verdict.shape, verdict.colour):
            print(f"  wanted {scene.colour} {scene.shape}, got {verdict.colour} {verdict.shape}")
    if options.sheet:
        save_sheet(pictures, options.sheet)
    return 0 if sum(both) >= GOAL * len(both) else 1


def save_sheet(pictures: list[Image.Image], path: Path, columns: int = 10) -> None:
    sheet = Image.new("RGB", (columns * SIDE, -(-len(pictures) // columns) * SIDE))
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % columns * SIDE, number // columns * SIDE))
    sheet.save(path)


if __name__ == "__main__":
    sys.exit(main())
