"""Optimizers and schedules by name."""

import importlib.util

import pytest
import torch
from transformers.optimization import get_polynomial_decay_schedule_with_warmup

from library.errors import UserError
from library.optimizers.optimizer_choice import choose_optimizer, find_optimizer, parse_optimizer_arguments
from library.optimizers.schedule import build_schedule
from library.optimizers.schedule_lengths import count_steps, schedule_notices
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


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("fused=True", "foreach=True"), "cannot be `True` together"),
        (("capturable=True",), "capturable"),  # refused by the first step only
        (("differentiable=True",), "requires grad"),
    ],
)
def test_values_that_do_not_suit_the_device_or_each_other(arguments, reason):
    weight = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(UserError, match=f"--optimizer_args: AdamW refuses .*{reason}"):
        choose_optimizer(OptimizerOptions(optimizer_args=arguments)).build([weight], 0.1)
    assert weight.tolist() == [1.0, 1.0]
    assert weight.grad is None


def test_the_trial_step_leaves_no_trace():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = choose_optimizer(OptimizerOptions(optimizer_args=("weight_decay=0.5",))).build([weight], 0.1)
    assert weight.tolist() == [1.0, 1.0]
    assert weight.grad is None
    assert not optimizer.state


def test_text_is_no_truth_value():
    with pytest.raises(UserError, match="amsgrad=false: any text counts as true; write amsgrad=False"):
        choose_optimizer(OptimizerOptions(optimizer_args=("amsgrad=false",)))


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


def polynomial(default: float, groups: list[float], steps=4, **options) -> list[list[float]]:
    """The rates of all groups at each step and after the last one."""
    parameters = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in groups]
    optimizer = torch.optim.SGD(parameters, lr=default)
    schedule = build_schedule(ScheduleOptions(lr_scheduler="polynomial", **options), optimizer, steps)
    found = []
    for _ in range(steps + 1):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("warmup", [0, 2])
def test_polynomial_is_that_of_transformers(warmup):
    parameters = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1e-4, 5e-5)]
    optimizer = torch.optim.SGD(parameters, lr=1e-3)
    schedule = get_polynomial_decay_schedule_with_warmup(optimizer, warmup, 6, power=2)
    theirs = []
    for _ in range(7):
        theirs.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert polynomial(1e-3, [1e-4, 5e-5], 6, lr_scheduler_power=2, lr_warmup_steps=warmup) == theirs


@pytest.mark.parametrize("default", [0.0, 1e-7])
def test_polynomial_with_no_rate_but_that_of_a_part(default):
    rates = polynomial(default, [1e-4, default])
    assert [rate for rate, _ in rates] == pytest.approx([1e-4, 7.5025e-5, 5.005e-5, 2.5075e-5, 1e-7])
    assert rates[0][1] == default


def test_polynomial_with_rates_below_its_end():
    with pytest.raises(
        UserError, match=r"polynomial falls to .* 1e-07, but the highest one is 5e-08.*lr_scheduler linear"
    ):
        polynomial(5e-8, [5e-8])


def test_polynomial_with_nothing_but_warmup():
    assert polynomial(1.0, [1.0], 2, lr_warmup_steps=2) == [[0.0], [0.5], [1e-7]]


@pytest.mark.parametrize(
    ("options", "steps", "words"),
    [
        ({"lr_scheduler": "cosine", "lr_warmup_steps": 2000}, 1600, "--lr_warmup_steps 2000: training has only 1600"),
        ({"lr_scheduler": "cosine", "lr_warmup_steps": 1600}, 1600, "never reaches its full value"),
        ({"lr_scheduler": "cosine", "lr_warmup_steps": 0.01}, 50, "--lr_warmup_steps 0.01 is less than one of 50"),
        (
            {"lr_scheduler": "warmup_stable_decay", "lr_warmup_steps": 8, "lr_decay_steps": 8},
            10,
            "--lr_decay_steps 8: together with 8 steps of warm-up, that is more than the 10 steps",
        ),
        ({"lr_scheduler": "warmup_stable_decay", "lr_warmup_steps": 8}, 10, "without --lr_decay_steps"),
        ({"lr_scheduler": "warmup_stable_decay", "lr_warmup_steps": 20, "lr_decay_steps": 8}, 10, "never reaches"),
    ],
)
def test_schedules_longer_than_the_run(options, steps, words):
    (notice,) = schedule_notices(ScheduleOptions(**options), steps)
    assert words in notice


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr_scheduler": "cosine", "lr_warmup_steps": 1599},
        {"lr_scheduler": "cosine", "lr_warmup_steps": 0.5, "lr_decay_steps": 0.9},
        {"lr_scheduler": "warmup_stable_decay", "lr_warmup_steps": 600, "lr_decay_steps": 1000},
    ],
)
def test_schedules_that_fit(options):
    assert schedule_notices(ScheduleOptions(**options), 1600) == []
