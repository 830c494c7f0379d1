"""Changes of colour: hues turn, brightness bends, and nothing else happens."""

import colorsys
from collections import Counter

import numpy as np
import pytest

from library.dataset.augmentations.colour_changes import ColourChange, change_colours, draw_colour_change
from library.randomness import python_generator

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (250, 10, 10), (12, 200, 190), (90, 60, 30), (255, 0, 3)]
GREYS = [(0, 0, 0), (255, 255, 255), (128, 128, 128), (1, 1, 1)]


def as_picture(colours) -> np.ndarray:
    return np.array([colours], np.uint8)


@pytest.mark.parametrize("units", [8.0, -8.0, 3.7, -0.4])
def test_hues_turn_by_two_degrees_for_each_unit(units):
    """Against Python's own conversion; a red that turns below zero comes out as violet, not as something else."""
    found = change_colours(as_picture(COLOURS + GREYS), ColourChange(hue_shift=units))
    assert found.dtype == np.uint8
    for before, after in zip(COLOURS + GREYS, found[0].tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in before))
        expected = colorsys.hsv_to_rgb((hue + units * 2 / 360) % 1, saturation, value)
        assert np.abs(np.array(after) - np.array(expected) * 255).max() <= 0.51, before


def test_red_turns_towards_yellow():
    """In the order of RGB: as BGR the red would be a blue, and turn towards violet."""
    ((red, green, blue),) = change_colours(as_picture([(255, 0, 0)]), ColourChange(hue_shift=8.0))[0].tolist()
    assert (red, blue) == (255, 0)
    assert green == round(255 * 16 / 60)


@pytest.mark.parametrize("gamma", [0.95, 1.05])
def test_gamma_bends_values_from_0_to_1(gamma):
    """White and black stay. Raised to the power as they are, 250 would become 255 or 190, and all else be dim."""
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    found = change_colours(ramp, ColourChange(gamma=gamma))
    expected = [round(255 * (value / 255) ** gamma) for value in range(256)]
    for channel in range(3):
        assert found[0, :, channel].tolist() == expected
    assert (found[0, 0, 0], found[0, 255, 0]) == (0, 255)
    assert found[0, 250, 0] in (249, 250)
    assert found[0, 128, 0] == {0.95: 132, 1.05: 124}[gamma]


def test_no_change_changes_nothing():
    pixels = np.random.default_rng(3).integers(0, 256, (16, 16, 3), np.uint8)
    np.testing.assert_array_equal(change_colours(pixels, ColourChange()), pixels)
    almost = change_colours(pixels, ColourChange(hue_shift=1e-9))
    np.testing.assert_array_equal(almost, pixels, "to hue, saturation and value and back")


def test_odds_and_ranges():
    changes = [draw_colour_change(python_generator(1, "colour", number)) for number in range(6000)]
    kinds = Counter(
        "none" if change is None else "hue" if change.gamma == 1.0 else "gamma" for change in changes
    )  # fmt: skip
    assert kinds["none"] / 6000 == pytest.approx(0.67, abs=0.02)
    assert kinds["hue"] / 6000 == pytest.approx(0.165, abs=0.02)
    assert kinds["gamma"] / 6000 == pytest.approx(0.165, abs=0.02)
    hues = [change.hue_shift for change in changes if change is not None and change.gamma == 1.0]
    gammas = [change.gamma for change in changes if change is not None and change.gamma != 1.0]
    assert -8 <= min(hues) < -7.9
    assert 7.9 < max(hues) <= 8
    assert 0.95 <= min(gammas) < 0.951
    assert 1.049 < max(gammas) <= 1.05
    assert all(change.hue_shift == 0 for change in changes if change is not None and change.gamma != 1.0)
