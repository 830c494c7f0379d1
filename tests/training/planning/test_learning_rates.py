"""The learning rates in the plan."""

import pytest

from library.training.planning.learning_rates import MOST_POINTS, evenly_spread, learning_rate_figures, parts_by_rate
from tests.options.resolving import resolve_complete


def settings(*words):
    resolved = resolve_complete(*words)
    assert resolved.problems == ()
    return resolved.settings


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ((), {1e-3: ("U-Net", "text encoders")}),
        (("--unet_lr", "1e-4"), {1e-4: ("U-Net",), 1e-3: ("text encoders",)}),
        (
            ("--text_encoder_lr", "1e-4", "1e-5"),
            {1e-3: ("U-Net",), 1e-4: ("text encoder 1",), 1e-5: ("text encoder 2",)},
        ),
        (("--text_encoder_lr", "1e-4", "1e-3"), {1e-3: ("U-Net", "text encoder 2"), 1e-4: ("text encoder 1",)}),
        (("--network_train_unet_only",), {1e-3: ("U-Net",)}),
    ],
)
def test_parts_with_their_rates(words, parts):
    assert parts_by_rate(settings("--learning_rate", "1e-3", *words)) == parts


@pytest.mark.parametrize(("count", "most", "numbers"), [(3, 5, [0, 1, 2]), (1, 5, [0]), (9, 5, [0, 2, 4, 6, 8])])
def test_evenly_spread(count, most, numbers):
    assert evenly_spread(count, most) == numbers


def test_long_runs_have_curves_of_a_thousand_points_and_exact_extremes():
    words = ("--learning_rate", "1e-3", "--lr_scheduler", "cosine_with_restarts", "--lr_scheduler_num_cycles", "3")
    figures = learning_rate_figures(settings(*words, "--lr_warmup_steps", "10%"), 20_000)
    (curve,) = figures.curves
    assert len(curve.rates) == len(figures.steps) == MOST_POINTS
    assert (figures.steps[0], figures.steps[-1], figures.warmup_steps) == (1, 20_000, 2000)
    assert (curve.rates[0], curve.highest) == (0, 1e-3)
    assert 0 < curve.lowest < 1e-8
    assert curve.last == curve.rates[-1] == pytest.approx(1e-3 * 6.85e-8, rel=1e-2)


def test_adafactor_has_the_same_rates_everywhere():
    figures = learning_rate_figures(settings("--optimizer_type", "Adafactor", "--unet_lr", "1e-3"), 20)
    (curve,) = figures.curves
    assert (figures.optimizer, curve.parts, set(curve.rates)) == ("AdaFactor", ("U-Net", "text encoders"), {0.01})


def test_optimizers_that_find_a_rate():
    words = ("--optimizer_type", "Prodigy", "--learning_rate", "1", "--lr_scheduler", "cosine")
    figures = learning_rate_figures(settings(*words), 4)
    assert figures.finds_rate
    assert figures.curves[0].rates == pytest.approx([1, 0.8536, 0.5, 0.1464], rel=1e-3)
