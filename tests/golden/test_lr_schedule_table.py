"""lr_schedules.json: the rate at each listed step, what is refused, and where the tool that we follow is wrong."""

import pytest
import torch

from library.errors import UserError
from library.optimizers.schedule import build_schedule
from library.options.groups import ScheduleOptions
from tests.golden.tables import numbered, table
from tests.options.resolving import resolve_complete

TABLE = table("lr_schedules")
RATE = 1e-4
"""Where a case names none."""


def rates(options: dict, steps: list[int]) -> list[float]:
    """The rates with which these steps are taken."""
    own = dict(options)
    rate, max_train_steps = own.pop("learning_rate", RATE), own.pop("max_train_steps")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    schedule = build_schedule(ScheduleOptions(**own), optimizer, max_train_steps)
    optimizer.step()
    found = {}
    for step in range(max(steps) + 1):
        found[step] = optimizer.param_groups[0]["lr"]
        schedule.step()
    return [found[step] for step in steps]


def words(options: dict) -> list[str]:
    found = []
    for name, value in options.items():
        found += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return found


@pytest.mark.parametrize(("number", "case"), numbered(TABLE["cases"]))
def test_rates(number, case):
    """With several processes, too: there, the schedule is stretched by their number and advanced as often."""
    assert rates(case["options"], case["steps"]) == pytest.approx(case["lr"], rel=1e-6, abs=1e-13)


@pytest.mark.parametrize("case", TABLE["cases"], ids=str)
def test_no_case_is_refused(case):
    assert resolve_complete(*words(case["options"])).problems == ()


@pytest.mark.parametrize("case", TABLE["errors"], ids=lambda case: case["reason"])
def test_errors(case):
    problems = resolve_complete(*words(case["options"])).problems
    if not problems:  # what only shows with torch, before the model is loaded
        with pytest.raises(UserError) as caught:
            rates({**case["options"], "max_train_steps": 10}, [0])
        problems = tuple(caught.value.problems)
    assert len(problems) == 1


FAULTS = {
    fault: [case for case in TABLE["reference_faults"] if case["fault"] == fault]
    for fault in ("int_warmup_with_processes", "float_at_or_above_one")
}


@pytest.mark.parametrize(("number", "case"), numbered(FAULTS["int_warmup_with_processes"]))
def test_whole_numbers_count_optimizer_steps_whatever_the_number_of_processes(number, case):
    """There, they are not stretched: warm-up and decay end `num_processes` times too early."""
    options, processes = case["options"], case["num_processes"]
    found = rates(options, case["steps"])
    if "lr_decay_steps" not in options:
        early = {step: rate for step, rate in zip(case["steps"], case["lr"], strict=True) if step * processes < 100}
        assert early == {step: pytest.approx(RATE * step * processes / 100) for step in early}
    warmup, decay, steps = options["lr_warmup_steps"], options.get("lr_decay_steps", 0), options["max_train_steps"]
    as_shares = {**options, "lr_warmup_steps": warmup / steps}
    if decay:
        as_shares["lr_decay_steps"] = decay / steps
    assert found == rates(as_shares, case["steps"]), "shares are right there, too"
    rising = {step: rate for step, rate in zip(case["steps"], found, strict=True) if step <= warmup}
    assert rising == {step: pytest.approx(RATE * step / warmup) for step in rising}
    assert len(rising) >= 8


@pytest.mark.parametrize(("number", "case"), numbered(FAULTS["float_at_or_above_one"]))
def test_numbers_with_a_decimal_point_from_one_on_are_refused(number, case):
    """There, they are multiples of the run: the rate never gets anywhere."""
    warmup = case["options"]["lr_warmup_steps"]
    (problem,) = resolve_complete(*words(case["options"])).problems
    assert problem.startswith(f"--lr_warmup_steps {warmup}: ")
    assert f"write {int(warmup)} for {int(warmup)} steps" in problem
    with pytest.raises(ValueError):
        ScheduleOptions(lr_warmup_steps=warmup)


def test_every_fault_is_known():
    assert sum(map(len, FAULTS.values())) == len(TABLE["reference_faults"])
