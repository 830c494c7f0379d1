"""Losses and other measured values of each step, and how they are shown."""

import math

import pytest
import torch

from library.optimizers.adapted_rates import AdaptedRate
from library.training.loss_record import LossRecord, StepLoss
from library.training.tracking import displayed_values, measured_values, step_values
from library.training.weight_norms import WeightNorms


def test_losses_arrive_in_order_with_their_rates():
    record = LossRecord(window=2)
    assert math.isnan(record.average)
    for step, value in ((1, 4.0), (2, 2.0), (3, 1.0)):
        record.add(step, torch.tensor(value), (0.1 * step,))
    assert record.ready() == [
        StepLoss(1, 4.0, (0.1,), {}),
        StepLoss(2, 2.0, (0.2,), {}),
        StepLoss(3, 1.0, (pytest.approx(0.3),), {}),
    ]
    assert record.average == 1.5
    assert record.ready() == []


def test_measured_values_become_numbers_in_their_order():
    record = LossRecord(window=2)
    d = torch.tensor([0.25], dtype=torch.float64)  # some optimizers keep it so
    record.add(1, torch.tensor(4.0, dtype=torch.bfloat16), (), {"a": torch.tensor(3), "b": 0.5, "c": d})
    d += 1
    (loss,) = record.ready()
    assert loss == StepLoss(1, 4.0, (), {"a": 3.0, "b": 0.5, "c": 0.25})
    assert list(loss.measured) == ["a", "b", "c"]
    assert all(type(value) is float for value in (loss.value, *loss.measured.values()))


def test_losses_that_are_not_finite_stay_so():
    record = LossRecord(window=2)
    record.add(1, torch.tensor(math.nan), ())
    record.add(2, torch.tensor(math.inf), ())
    first, second = record.ready(wait=True)
    assert math.isnan(first.value)
    assert second.value == math.inf


def test_names_in_the_log_and_on_the_progress_bar():
    norms = WeightNorms(torch.tensor(3), torch.tensor(0.25), 0.5)
    rates = (AdaptedRate(d=torch.tensor(0.25), rate=torch.tensor(0.125)), AdaptedRate(d=2.0, rate=1e-5))
    record = LossRecord(window=1)
    descriptions = ["textencoder", "unet"]
    record.add(1, torch.tensor(4.0), (0.5, 1.0), measured_values(descriptions, norms, rates, torch.tensor(1.5)))
    (loss,) = record.ready()
    assert step_values(loss, 3.0, descriptions) == {
        "loss/current": 4.0,
        "loss/average": 3.0,
        "lr/textencoder": 0.5,
        "lr/unet": 1.0,
        "lr/d*lr/textencoder": 0.125,
        "lr/d*lr/unet": 1e-5,
        "lr/d/textencoder": 0.25,
        "lr/d/unet": 2.0,
        "max_norm/keys_scaled": 3.0,
        "max_norm/max_key_norm": 0.5,
        "norm/avg_key_norm": 0.25,
        "norm/gradient": 1.5,
    }
    assert displayed_values(loss, 3.0) == {
        "loss": "4.0000",
        "avr_loss": "3.0000",
        "keys_scaled": "3",
        "avg_key_norm": "0.2500",
        "d*lr": "0.125",
    }


def test_what_is_not_measured_is_neither_logged_nor_shown():
    assert measured_values(["unet"]) == {}
    loss = StepLoss(2, 2.0, (0.1,), {})
    assert step_values(loss, 3.0, ["unet"]) == {"loss/current": 2.0, "loss/average": 3.0, "lr/unet": 0.1}
    assert displayed_values(loss, 3.0) == {"loss": "2.0000", "avr_loss": "3.0000"}


def test_every_group_has_a_rate_of_its_own():
    with pytest.raises(ValueError, match="zip"):
        measured_values(["textencoder", "unet"], adapted_rates=(AdaptedRate(1.0, 1.0),))
