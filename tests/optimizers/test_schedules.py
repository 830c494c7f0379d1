"""Learning-rate schedules by name, their lengths, and the rates of whole runs."""

import io
import re

import pytest
import torch
from transformers.optimization import get_polynomial_decay_schedule_with_warmup

from library.errors import UserError
from library.optimizers.optimizer_choice import choose_optimizer
from library.optimizers.schedule import build_schedule
from library.optimizers.schedule_lengths import count_steps, schedule_notices
from library.optimizers.schedule_shapes import relative_step_size
from library.optimizers.schedule_words import describe_schedule
from library.optimizers.scheduled_rates import schedule_beside, scheduled_rates
from library.options.groups import OptimizerOptions, ScheduleOptions
from library.options.schema import all_options


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
    of_phases = rates("warmup_stable_decay", lr_warmup_steps=2, lr_decay_steps=0.4)
    assert of_phases == [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8536, 0.5, 0.1464]
    assert rates("inverse_sqrt", steps=5, lr_scheduler_timescale=1)[3] == 0.5
    of_rules = rates("piecewise_constant", steps=6, lr_scheduler_args=("step_rules=1:2,0.5:3,0.125",))
    assert of_rules == [1.0, 1.0, 0.5, 0.125, 0.125, 0.125]


def test_rex():
    """(1 - z) / (1/2 + (1 - z)/2), z = the share of the run that is over."""
    assert rates("rex", steps=4) == [1.0, 0.8571, 0.6667, 0.4]
    assert rates("rex", steps=6, lr_warmup_steps=2) == [0.0, 0.5, 1.0, 0.8571, 0.6667, 0.4]
    assert rates("rex", steps=4, lr_scheduler_min_lr_ratio=0.5) == [1.0, 0.9286, 0.8333, 0.7]


def test_rex_falls_late():
    rates_of_rex, of_a_line = rates("rex", steps=100), rates("linear", steps=100)
    assert all(above > line for above, line in zip(rates_of_rex[1:], of_a_line[1:], strict=True))


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
    assert polynomial(1e-3, [1e-4, 5e-5], 6, lr_scheduler_power=2, lr_warmup_steps=warmup) == [
        pytest.approx(of_step, rel=1e-12) for of_step in theirs
    ]


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
        (
            {"lr_scheduler": "piecewise_constant", "lr_scheduler_args": ("step_rules=1:9,0.1:10,0.2:20,0.01",)},
            10,
            "training has only 10 steps, so that nothing changes at step 10, 20",
        ),
        ({"lr_scheduler_type": "PolynomialLR"}, 10, "total_iters is 5 unless it is given; .* total_iters=10"),
    ],
)
def test_schedules_longer_than_the_run(options, steps, words):
    (notice,) = schedule_notices(ScheduleOptions(**options), steps)
    assert re.search(words, notice)


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


CASES = [
    {"lr_scheduler": "constant"},
    {"lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 5},
    {"lr_scheduler": "linear", "lr_warmup_steps": 0.1},
    {"lr_scheduler": "cosine", "lr_warmup_steps": 3},
    {"lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": 3},
    {"lr_scheduler": "polynomial", "lr_scheduler_power": 2},
    {"lr_scheduler": "inverse_sqrt", "lr_warmup_steps": 4},
    {"lr_scheduler": "cosine_with_min_lr", "lr_scheduler_min_lr_ratio": 0.1},
    {"lr_scheduler": "warmup_stable_decay", "lr_warmup_steps": 4, "lr_decay_steps": 0.3},
    {"lr_scheduler": "piecewise_constant", "lr_scheduler_args": ("step_rules=1:7,0.1:12,0.01",)},
    {"lr_scheduler": "adafactor"},
    {"lr_scheduler": "rex", "lr_warmup_steps": 3, "lr_scheduler_min_lr_ratio": 0.1},
    {"lr_scheduler_type": "StepLR", "lr_scheduler_args": ("step_size=4", "gamma=0.5")},
    {"lr_scheduler_type": "CosineAnnealingWarmRestarts", "lr_scheduler_args": ("T_0=5", "T_mult=2")},
    {"lr_scheduler_type": "OneCycleLR", "lr_scheduler_args": ("max_lr=1e-3", "total_steps=20")},
]
every_schedule = pytest.mark.parametrize("options", CASES, ids=lambda options: " ".join(map(str, options.values())))


def test_every_name_is_among_the_cases():
    names = {case["lr_scheduler"] for case in CASES if "lr_scheduler" in case}
    assert names == set(all_options()["lr_scheduler"].choices)
    assert len(CASES) == len(names) + 3


def optimizer_with(groups: list[float]) -> torch.optim.Optimizer:
    parameters = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": rate} for rate in groups]
    return torch.optim.AdamW(parameters, lr=1e-3)


def walk(optimizer, schedule, steps: int) -> list[list[float]]:
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return found


@every_schedule
def test_what_is_said_before_the_run_is_what_is_trained_with(options):
    optimizer = optimizer_with([1e-3, 2e-4])
    trained = walk(optimizer, build_schedule(ScheduleOptions(**options), optimizer, 20), 20)
    adafactor = {"optimizer_type": "Adafactor"} if options.get("lr_scheduler") == "adafactor" else {}
    rates = OptimizerOptions(learning_rate=1e-3, **adafactor)
    said = scheduled_rates(ScheduleOptions(**options), rates, [1e-3, 2e-4], 20)
    assert [list(of_step) for of_step in zip(*said, strict=True)] == trained


@every_schedule
def test_resuming_in_the_middle_changes_nothing(options):
    schedule_options = ScheduleOptions(**options)
    optimizer = optimizer_with([1e-3, 2e-4])
    schedule = build_schedule(schedule_options, optimizer, 20)
    walk(optimizer, schedule, 9)
    state = io.BytesIO()
    torch.save([schedule.state_dict(), optimizer.state_dict()], state)
    rest = walk(optimizer, schedule, 11)

    resumed = optimizer_with([1e-3, 2e-4])
    resumed_schedule = build_schedule(schedule_options, resumed, 20)
    state.seek(0)
    of_schedule, of_optimizer = torch.load(state, weights_only=False)
    resumed.load_state_dict(of_optimizer)
    resumed_schedule.load_state_dict(of_schedule)
    assert walk(resumed, resumed_schedule, 11) == rest


def test_the_rates_of_adafactor():
    """min(0.01, 1 / sqrt(number of the step)), with warmup_init at most a millionth of that number."""
    sizes = {step: relative_step_size(step, begins_small=False) for step in (0, 9_999, 39_999)}
    assert sizes == {0: 0.01, 9_999: 0.01, 39_999: 0.005}
    begins_small = [relative_step_size(step, begins_small=True) for step in (0, 9, 9_999, 39_999)]
    assert begins_small == pytest.approx([1e-6, 1e-5, 0.01, 0.005])


@pytest.mark.parametrize("warmup_init", [False, True])
def test_the_rates_of_adafactor_are_those_that_it_steps_with(warmup_init):
    choice = choose_optimizer(
        OptimizerOptions(
            optimizer_type="Adafactor", optimizer_args=(f"warmup_init={warmup_init}", "scale_parameter=False")
        )
    )
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    optimizer = choice.build([{"params": [weight]}], 1e-3)
    schedule = build_schedule(ScheduleOptions(lr_scheduler="adafactor"), optimizer, 20)
    for _ in range(3):
        before = weight.detach().clone()
        weight.grad = torch.ones(2, 2)
        said = optimizer.param_groups[0]["lr"]
        optimizer.step()
        assert (before - weight.detach()).flatten().tolist() == pytest.approx([said] * 4, rel=1e-4)
        schedule.step()


@pytest.mark.parametrize(
    ("optimizer", "left"),
    [
        ({}, "cosine"),
        ({"optimizer_type": "Adafactor"}, "adafactor"),
        ({"optimizer_type": "Adafactor", "optimizer_args": ("relative_step=False",)}, "cosine"),
        ({"optimizer_type": "AdamWScheduleFree"}, "constant"),
    ],
)
def test_what_the_optimizer_leaves_to_the_schedule(optimizer, left):
    given = ScheduleOptions(lr_scheduler="cosine", lr_warmup_steps=5)
    found = schedule_beside(OptimizerOptions(**optimizer), given)
    assert found == (given if left == "cosine" else ScheduleOptions(lr_scheduler=left))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "constant"),
        ({"lr_scheduler": "cosine", "lr_warmup_steps": 0.1}, "cosine: 100 steps of warm-up, then down to 0"),
        ({"lr_scheduler": "linear"}, "linear: evenly down to 0"),
        (
            {"lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": 3},
            "cosine_with_restarts: down to 0, 3 times",
        ),
        (
            {"lr_scheduler": "warmup_stable_decay", "lr_warmup_steps": 1, "lr_decay_steps": 200},
            "warmup_stable_decay: 1 step of warm-up, then the full rate until step 800, then down to 0",
        ),
        (
            {"lr_scheduler": "piecewise_constant", "lr_scheduler_args": ("step_rules=1:10,0.5:20,0.1",)},
            "piecewise_constant: 1 until step 10, 0.5 until step 20, then 0.1",
        ),
        ({"lr_scheduler": "rex", "lr_scheduler_min_lr_ratio": 0.1}, "rex: down to 0.1 of the full rate"),
        ({"lr_scheduler": "polynomial"}, "polynomial: down to 1e-07 (power 1)"),
        ({"lr_scheduler_type": "StepLR", "lr_scheduler_args": ("step_size=9",)}, "StepLR step_size=9"),
    ],
)
def test_words(options, words):
    assert describe_schedule(ScheduleOptions(**options), 1000) == words
