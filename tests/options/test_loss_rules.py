"""Rules about the loss that more than one message belongs to."""

import pytest

from tests.options.resolving import resolve_complete


@pytest.mark.parametrize(
    ("name", "words"),
    [("debiased_estimation_loss", "--debiased_estimation_loss"), ("v_pred_like_loss", "--v_pred_like_loss 0.5")],
)
def test_weights_that_would_be_infinite_at_pure_noise(name, words):
    resolved = resolve_complete(*words.split(), "--zero_terminal_snr")
    assert resolved.problems == (
        f"--{name} with --zero_terminal_snr, without --v_parameterization: the last timestep, which is pure noise, "
        "would have an infinite weight; leave one of them out",
    )
    assert resolve_complete(*words.split()).problems == ()


def test_debiased_estimation_of_velocity_is_finite_at_pure_noise():
    resolved = resolve_complete("--debiased_estimation_loss", "--zero_terminal_snr", "--v_parameterization")
    assert (resolved.problems, resolved.warnings) == ((), ())


def test_what_is_off_is_no_contradiction():
    resolved = resolve_complete("--v_pred_like_loss", "0", "--v_parameterization", "--zero_terminal_snr")
    assert (resolved.problems, resolved.warnings) == ((), ())


@pytest.mark.parametrize(
    "words",
    ["--huber_c 0", "--huber_scale 0", "--p2_k 0", "--p2_gamma -1", "--v_pred_like_loss -1", "--unmasked_weight 1.5"],
)
def test_values_that_would_give_no_finite_loss(words):
    (problem,) = resolve_complete(*words.split()).problems
    assert problem.startswith(words)
