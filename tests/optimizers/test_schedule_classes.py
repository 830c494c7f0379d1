"""Learning-rate schedules that are classes."""

import sys

import pytest
import torch
from torch.optim import lr_scheduler

from library.errors import UserError
from library.optimizers.schedule import build_schedule
from library.optimizers.schedule_classes import torch_classes
from library.optimizers.schedule_lengths import schedule_notices
from library.optimizers.scheduled_rates import scheduled_rates
from library.options.groups import OptimizerOptions, ScheduleOptions

STEPS = 12
ARGUMENTS = {
    "StepLR": ("step_size=3",),
    "MultiStepLR": ("milestones=[2,5]",),
    "ConstantLR": ("total_iters=4",),
    "LinearLR": ("total_iters=12",),
    "ExponentialLR": ("gamma=0.9",),
    "CosineAnnealingLR": ("T_max=12",),
    "CyclicLR": ("base_lr=1e-5", "max_lr=1e-3", "step_size_up=3"),
    "CosineAnnealingWarmRestarts": ("T_0=4",),
    "OneCycleLR": ("max_lr=1e-3", "total_steps=12"),
    "PolynomialLR": ("total_iters=12", "power=2"),
}


def rehearse(path: str, *arguments: str, steps: int = STEPS) -> list[list[float]] | None:
    options = ScheduleOptions(lr_scheduler_type=path, lr_scheduler_args=arguments or None)
    return scheduled_rates(options, OptimizerOptions(learning_rate=1e-3), [1e-3, 1e-4], steps)


@pytest.mark.parametrize("name", torch_classes())
def test_every_class_of_torch(name):
    assert len(ARGUMENTS) == len(torch_classes()) == 10
    found = rehearse(name, *ARGUMENTS[name])
    assert found == rehearse(f"torch.optim.lr_scheduler.{name}", *ARGUMENTS[name])
    assert [len(rates) for rates in found] == [STEPS, STEPS]
    assert len(set(found[0])) > 1


def test_the_class_gets_its_arguments():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    options = ScheduleOptions(lr_scheduler_type="StepLR", lr_scheduler_args=("step_size=7", "gamma=0.25"))
    schedule = build_schedule(options, optimizer, 100)
    assert type(schedule) is lr_scheduler.StepLR
    assert (schedule.step_size, schedule.gamma) == (7, 0.25)


def test_a_class_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "my_schedules.py").write_text(
        "from torch.optim.lr_scheduler import LambdaLR\n"
        "class Halves(LambdaLR):\n"
        "    def __init__(self, optimizer, base=2):\n"
        "        super().__init__(optimizer, lambda step: base**-step)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert rehearse("my_schedules.Halves", "base=4", steps=3) == [[1e-3, 2.5e-4, 6.25e-5], [1e-4, 2.5e-5, 6.25e-6]]
    with pytest.raises(UserError, match="my_schedules has no class Thirds"):
        rehearse("my_schedules.Thirds")


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("NoSuchLR", (), "torch.optim.lr_scheduler has no such class; it has StepLR, "),
        ("CosinAnnealingLR", (), "Did you mean CosineAnnealingLR\\?"),
        ("Optimizer", (), "no such class"),
        ("no_such_package.Schedule", (), "there is no module no_such_package"),
        ("torch.optim.lr_scheduler.NoSuchLR", (), "torch.optim.lr_scheduler has no class NoSuchLR"),
        ("torch.optim.AdamW", (), "it is no schedule, but an optimizer"),
        ("ReduceLROnPlateau", (), "it follows a loss that is measured now and then"),
        ("torch.optim.lr_scheduler.ReduceLROnPlateau", (), "it follows a loss"),
        ("transformers.optimization.GreedyLR", (), "its step\\(\\) wants metrics"),
        ("LambdaLR", ("lr_lambda=1",), "it takes functions"),
        ("SequentialLR", (), "it takes schedules"),
        ("StepLR", ("step_siz=3",), "step_siz: StepLR has no such argument; .*Did you mean step_size\\?"),
        ("StepLR", ("step_size=3", "last_epoch=4"), "last_epoch: StepLR has no such argument"),
        ("StepLR", (), "StepLR needs step_size: add --lr_scheduler_args step_size=..."),
        ("StepLR", ("step_size=x",), "StepLR fails after step 1 of 12: unsupported operand"),
        ("CosineAnnealingLR", (), "needs T_max: add --lr_scheduler_args T_max=12, for the whole run"),
        ("OneCycleLR", ("max_lr=1e-3",), "needs total_steps: add --lr_scheduler_args total_steps=12"),
        (
            "OneCycleLR",
            ("max_lr=1e-3", "total_steps=5"),
            "OneCycleLR fails after step 6 of 12: Tried to step.*; give "
            "--lr_scheduler_args total_steps=12, for the whole run",
        ),
        ("CyclicLR", ("base_lr=1e-3", "max_lr=1e-3", "scale_fn=5", "mode=x"), "CyclicLR"),
        ("ExponentialLR", ("gamma=-1",), "a learning rate of -0.001 at step 2"),
        ("MultiStepLR", ("milestones=[1]", "gama=2"), "gama: MultiStepLR has no such argument"),
        ("MultiStepLR", ("milestones=[1, 2, 3]", "gamma=x"), "gamma=x: must be a number; the default is 0.1"),
        ("MultiStepLR", ("milestones=[]", "gamma=-1", "last_epoch=[]"), "last_epoch: MultiStepLR has no such argument"),
    ],
)
def test_errors(path, arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        rehearse(path, *arguments)
    assert all(problem.startswith("--lr_scheduler_") for problem in caught.value.problems)


def test_a_list_with_a_rate_for_each_group_is_left_to_the_real_groups():
    arguments = ("max_lr=[1e-3,1e-4,1e-5]", "total_steps=12")
    assert rehearse("OneCycleLR", *arguments) is None
    assert rehearse("OneCycleLR", "max_lr=[1e-3,1e-4]", "total_steps=12") is not None


@pytest.mark.parametrize(("given", "notices"), [((), 1), (("total_iters=12",), 0)])
def test_a_length_that_has_nothing_to_do_with_the_run_is_told(given, notices):
    found = schedule_notices(ScheduleOptions(lr_scheduler_type="LinearLR", lr_scheduler_args=given or None), STEPS)
    assert len(found) == notices
    assert all("total_iters is 5 unless it is given" in notice for notice in found)
