"""loss.json: the loss of each image for every kind of comparison, mask and weight."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from library.diffusion.elementwise_losses import elementwise_loss, huber_thresholds
from library.diffusion.masked_means import mean_per_image
from library.diffusion.noise_schedule import (
    NoiseSchedule,
    add_noise,
    scaled_linear_schedule,
    velocity,
    with_zero_terminal_snr,
)
from library.options.groups import LossOptions
from library.training.objective import timestep_weights
from tests.golden.tables import table, tensors

TABLE, TENSORS = table("loss"), tensors("loss")
PLAIN = scaled_linear_schedule()
OPTIONS = {"min_snr_gamma", "scale_v_pred_loss_like_noise_pred", "v_pred_like_loss"}
"""That have the same names here."""


def expect(found: torch.Tensor, expected: Any) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), rtol=2e-5, atol=1e-9)


def name_of(case: Mapping[str, Any]) -> str:
    return " ".join([f"set {case['timestep_set']}", *(f"{key} {value}" for key, value in case["options"].items())])


def timesteps_of(case: Mapping[str, Any]) -> torch.Tensor:
    return torch.tensor(TABLE["batches"][case["batch"]]["timestep_sets"][case["timestep_set"]])


def masks_of(name: str, size: torch.Size) -> torch.Tensor:
    """In latent cells. The masks of a folder beat those of the images' transparency."""
    name = next((part for part in name.split("+") if part.startswith("conditioning")), name)
    masks = TENSORS[name]
    if name.startswith("conditioning"):
        masks = masks[:, 0] / 2 + 0.5
    return torch.nn.functional.interpolate(masks.unsqueeze(1), size=size, mode="area").squeeze(1)


def thresholds_of(options: Mapping[str, Any], schedule: NoiseSchedule) -> torch.Tensor | None:
    if options.get("loss_type", "l2") not in ("huber", "smooth_l1"):
        return None
    c, scale = options.get("huber_c", 0.1), options.get("huber_scale", 1.0)
    return huber_thresholds(options.get("huber_schedule", "constant"), c, scale, schedule)


def losses_of(case: Mapping[str, Any], schedule: NoiseSchedule = PLAIN) -> torch.Tensor:
    """Weighted loss of each image. Shape (batch,)."""
    options, batch, timesteps = case["options"], case["batch"], timesteps_of(case)
    latents, noise, prediction = (TENSORS[f"{name}.{batch}"] for name in ("latents", "noise", "pred"))
    predicts_velocity = options.get("target") == "velocity"
    target = velocity(schedule, latents, noise, timesteps) if predicts_velocity else noise
    thresholds = thresholds_of(options, schedule)
    losses = elementwise_loss(
        options.get("loss_type", "l2"), prediction, target, None if thresholds is None else thresholds[timesteps]
    )
    masks = masks_of(options["mask"], latents.shape[2:]) if "mask" in options else None
    means = mean_per_image(losses, masks) * torch.tensor(options.get("loss_weights", [1.0] * len(latents)))
    asked = {name: value for name, value in options.items() if name in OPTIONS}
    asked["debiased_estimation_loss"] = options.get("debiased", False)
    weights = timestep_weights(LossOptions(**asked), schedule, predicts_velocity)
    return means if weights is None else means * weights[timesteps]


def test_noisy_latents_and_velocities():
    """Of the first set of timesteps."""
    assert TABLE["batches"]
    for name, batch in TABLE["batches"].items():
        timesteps = torch.tensor(batch["timestep_sets"][0])
        latents, noise = TENSORS[f"latents.{name}"], TENSORS[f"noise.{name}"]
        torch.testing.assert_close(
            add_noise(PLAIN, latents, noise, timesteps), TENSORS[f"noisy.{name}"], rtol=2e-5, atol=1e-6
        )
        torch.testing.assert_close(
            velocity(PLAIN, latents, noise, timesteps), TENSORS[f"velocity.{name}"], rtol=2e-5, atol=1e-6
        )


ZERO_TERMINAL = [case for case in TABLE["cases"] if case["options"].get("zero_terminal_snr")]
"""Without weights: only the target differs."""


@pytest.mark.parametrize("case", TABLE["cases"], ids=name_of)
def test_case(case):
    schedule = with_zero_terminal_snr(PLAIN) if case in ZERO_TERMINAL else PLAIN
    losses = losses_of(case, schedule)
    expect(losses, case["per_sample"])
    expect(losses.mean(), case["mean"])
    if "huber_threshold" in case:
        thresholds = thresholds_of(case["options"], schedule)
        assert thresholds is not None
        expect(thresholds[timesteps_of(case)], case["huber_threshold"])


@pytest.mark.parametrize("case", TABLE["reference_faults"]["huber_scale_ignored"], ids=name_of)
def test_the_scale_counts_for_every_schedule(case):
    """The tool we follow ignores it with the SNR's (reference fault "huber_scale_ignored")."""
    options, timesteps = case["options"], timesteps_of(case)
    assert options["huber_schedule"] == "snr"
    assert options["huber_scale"] != 1
    unscaled = {**case, "options": {**options, "huber_scale": 1.0}}
    expect(losses_of(unscaled), case["per_sample"])
    thresholds, of_reference = thresholds_of(options, PLAIN), torch.tensor(case["huber_threshold"])
    assert thresholds is not None
    expect(thresholds[timesteps], (of_reference * options["huber_scale"]).tolist())
    difference = TENSORS[f"pred.{case['batch']}"] - TENSORS[f"noise.{case['batch']}"]
    if options["target"] == "noise":
        c = thresholds[timesteps].double().view(-1, 1, 1, 1)
        written_out = 2 * ((difference.double().square() + c.square()).sqrt() - c)
        if options["loss_type"] == "huber":
            written_out = written_out * c
        expect(losses_of(case), written_out.flatten(1).mean(dim=1).float().tolist())


@pytest.mark.parametrize("case", TABLE["reference_faults"]["stale_snr"], ids=name_of)
def test_weights_belong_to_the_schedule_that_is_trained(case):
    """The tool we follow weights by the SNR from before the schedule was changed (reference fault "stale_snr")."""
    losses = losses_of(case, with_zero_terminal_snr(PLAIN))
    compared = 0
    for found, matching in zip(losses, case["with_matching_snr"], strict=True):
        if isinstance(matching, float | int):
            expect(found, float(matching))
            compared += 1
    assert compared >= len(losses) - 1
    assert (losses - torch.tensor(case["per_sample"])).abs().max() > 1e-5


def test_the_whole_table_is_used():
    assert TABLE.keys() == {"description", "batches", "cases", "reference_faults"}
    assert TABLE["reference_faults"].keys() == {"huber_scale_ignored", "stale_snr"}
    options = {name for case in TABLE["cases"] for name in case["options"]}
    assert options == OPTIONS | {
        "target", "loss_type", "huber_schedule", "huber_c", "huber_scale", "debiased", "loss_weights", "mask",
        "zero_terminal_snr",
    }  # fmt: skip
