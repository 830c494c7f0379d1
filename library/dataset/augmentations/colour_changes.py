"""Small random changes of colour, with the odds and strengths of kohya's --color_aug."""

import random
from dataclasses import dataclass

import cv2
import numpy as np

CHANGE_PROBABILITY = 0.33
LARGEST_HUE_SHIFT = 8.0
"""in OpenCV's units: 180 go once round the colour circle"""
GAMMA_RANGE = (0.95, 1.05)
DEGREES_PER_UNIT = 2


@dataclass(frozen=True)
class ColourChange:
    hue_shift: float = 0.0
    """in OpenCV's units, from red towards yellow"""
    gamma: float = 1.0
    """exponent of values from 0 to 1"""


def draw_colour_change(rng: random.Random) -> ColourChange | None:
    """For one picture in three, the hue or the brightness."""
    if rng.random() > CHANGE_PROBABILITY:
        return None
    if rng.random() > 0.5:
        return ColourChange(hue_shift=rng.uniform(-LARGEST_HUE_SHIFT, LARGEST_HUE_SHIFT))
    return ColourChange(gamma=rng.uniform(*GAMMA_RANGE))


def change_colours(
    pixels: np.ndarray,  # uint8 (height, width, 3), RGB
    change: ColourChange,
) -> np.ndarray:
    """The same shape and type."""
    if change.hue_shift:
        pixels = _shift_hue(pixels, change.hue_shift * DEGREES_PER_UNIT)
    return pixels if change.gamma == 1.0 else cv2.LUT(pixels, _gamma_table(change.gamma))


def _shift_hue(pixels: np.ndarray, degrees: float) -> np.ndarray:
    """In floating point, where a colour survives the way to hue, saturation and value and back."""
    colours = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    colours[..., 0] = (colours[..., 0] + degrees) % 360
    return np.rint(cv2.cvtColor(colours, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


def _gamma_table(gamma: float) -> np.ndarray:
    return np.rint((np.arange(256) / 255) ** gamma * 255).astype(np.uint8)
