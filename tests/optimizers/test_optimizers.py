"""Optimizers and schedules by name."""

import importlib.util

import pytest
import torch

from library.errors import UserError
from library.optimizers.optimizer_choice import choose_optimizer, find_optimizer, parse_optimizer_arguments
from library.optimizers.schedule import build_schedule, count_steps
from library.options.groups import OptimizerOptions, ScheduleOptions


@pytest.mark.parametrize("name", ["", "AdamW", "adamw", "ADAMW"])
def test_adamw_in_any_case(name):
    choice = choose_optimizer(OptimizerOptions(optimizer_type=name))
    assert choice.optimizer_class is torch.optim.AdamW
    assert choice.describe() == "torch.optim.adamw.AdamW"


def test_arguments_are_python_values():
    pairs = ("betas=0.9,0.99", "weight_decay=0.01", "amsgrad=True", "name=plain text", "path=a=b")
    assert parse_optimizer_arguments(pairs) == {
        "betas": (0.9, 0.99),
        "weight_decay": 0.01,
        "amsgrad": True,
        "name": "plain text",
        "path": "a=b",
    }


def test_arguments_reach_the_optimizer():
    options = OptimizerOptions(optimizer_args=("betas=0.8,0.99", "weight_decay=0.5"))
    optimizer = choose_optimizer(options).build([torch.nn.Parameter(torch.zeros(1))], 0.25)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.25, (0.8, 0.99), 0.5)


def test_unknown_arguments_are_listed_with_the_known_ones():
    with pytest.raises(UserError, match=r"wieght_decay: AdamW has no such argument.*Did you mean weight_decay\?"):
        choose_optimizer(OptimizerOptions(optimizer_args=("wieght_decay=0.1",)))


def test_refused_values():
    choice = choose_optimizer(OptimizerOptions(optimizer_args=("betas=2,3",)))
    with pytest.raises(UserError, match="--optimizer_args: AdamW refuses"):
        choice.build([torch.nn.Parameter(torch.zeros(1))], 0.1)


def test_unknown_optimizer():
    with pytest.raises(UserError, match=r"--optimizer_type AdamV: not available.*Did you mean AdamW\?"):
        find_optimizer(OptimizerOptions(optimizer_type="AdamV"))


@pytest.mark.parametrize(
    ("options", "named"),
    [({"optimizer_type": "AdamW8bit"}, "--optimizer_type"), ({"use_8bit_adam": True}, "--use_8bit_adam")],
)
def test_a_missing_package_is_named_with_the_option(monkeypatch, options, named):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"{named} needs the package bitsandbytes.*pip install bitsandbytes"):
        find_optimizer(OptimizerOptions(**options))


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="has no bitsandbytes")
def test_8bit_adam():
    choice = choose_optimizer(OptimizerOptions(use_8bit_adam=True))
    assert choice.describe() == "bitsandbytes.optim.adamw.AdamW8bit"


@pytest.mark.parametrize(("given", "expected"), [(0, 0), (7, 7), (0.1, 20), (0.999, 199)])
def test_steps_and_shares(given, expected):
    assert count_steps(given, 200) == expected


def rates(name: str, steps=10, **options) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(ScheduleOptions(lr_scheduler=name, **options), optimizer, steps)
    found = []
    for _ in range(steps):
        found.append(round(optimizer.param_groups[0]["lr"], 4))
        optimizer.step()
        schedule.step()
    return found


def test_schedules():
    assert rates("constant") == [1.0] * 10
    assert rates("constant_with_warmup", lr_warmup_steps=4)[:5] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert rates("linear", steps=4) == [1.0, 0.75, 0.5, 0.25]
    assert rates("cosine", steps=4) == [1.0, 0.8536, 0.5, 0.1464]
    assert rates("cosine_with_restarts", steps=4, lr_scheduler_num_cycles=2) == [1.0, 0.5, 1.0, 0.5]
    assert rates("polynomial", steps=4, lr_scheduler_power=2) == [1.0, 0.5625, 0.25, 0.0625]
    assert rates("cosine_with_min_lr", steps=4, lr_scheduler_min_lr_ratio=0.5) == [1.0, 0.9268, 0.75, 0.5732]
    assert rates("warmup_stable_decay", lr_warmup_steps=2, lr_decay_steps=0.4)[:7] == [
        0.0,
        0.5,
        1.0,
        1.0,
        1.0,
        1.0,
        1.0,
    ]
    assert rates("inverse_sqrt", steps=5, lr_scheduler_timescale=1)[3] == 0.5
