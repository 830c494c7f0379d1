"""What fp16 does to the optimizer and its schedule."""

import warnings

import pytest
import torch
from accelerate import Accelerator

from library.options.groups import ScheduleOptions
from library.training.optimizer_setup import prepare_optimizer


def test_the_schedule_under_fp16():
    """Its steps wait for the optimizer's, and torch finds nothing wrong with the order in which both are wrapped."""
    weight = torch.nn.Parameter(torch.ones(()))
    accelerator = Accelerator()
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    optimizer, schedule = prepare_optimizer(
        torch.optim.SGD([weight], lr=1.0), ScheduleOptions(lr_scheduler="linear"), 4, accelerator
    )
    rates, skipped = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for slope in (float("inf"), 1.0, 1.0, float("nan"), 1.0):
            rates.append(optimizer.param_groups[0]["lr"])
            accelerator.scaler.scale(weight * slope).backward()
            optimizer.step()
            skipped.append(accelerator.optimizer_step_was_skipped)
            if not skipped[-1]:
                schedule.step()
            optimizer.zero_grad()
    assert skipped == [True, False, False, True, False]
    assert rates == [1.0, 1.0, 0.75, 0.5, 0.5]
    assert weight.item() == pytest.approx(1 - 1.0 - 0.75 - 0.5)
