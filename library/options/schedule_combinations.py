"""Rules about options of the learning-rate schedule that depend on each other."""

from collections.abc import Iterator

from library.errors import UserError
from library.options.chosen_optimizer import ChosenOptimizer
from library.options.findings import Finding, Given, Notice, Problem
from library.options.groups import ScheduleOptions
from library.options.key_value_arguments import argument_problems, argument_texts
from library.options.piecewise_rules import rules_of
from library.options.schema import Settings

_SCHEDULES_THAT_USE = {
    "lr_scheduler_num_cycles": ("cosine_with_restarts", "cosine_with_min_lr", "warmup_stable_decay"),
    "lr_scheduler_power": ("polynomial",),
    "lr_scheduler_timescale": ("inverse_sqrt",),
    "lr_scheduler_min_lr_ratio": ("cosine_with_min_lr", "warmup_stable_decay", "rex"),
    "lr_decay_steps": ("warmup_stable_decay",),
    "lr_scheduler_args": ("piecewise_constant",),
}


def _schedule(settings: Settings, given: Given) -> Iterator[Finding]:
    if ChosenOptimizer(settings.optimizer).has_own_schedule:
        return  # what has no effect then is said among the rules about optimizers
    if settings.schedule.lr_scheduler_type:
        yield from _class(settings.schedule)
    else:
        yield from _named(settings.schedule)


def _class(schedule: ScheduleOptions) -> Iterator[Finding]:
    if schedule.lr_warmup_steps:
        yield Problem(
            f"--lr_warmup_steps {schedule.lr_warmup_steps}: a class such as --lr_scheduler_type "
            f"{schedule.lr_scheduler_type} has no warm-up; leave it out, or use a schedule of --lr_scheduler"
        )
    for option in _changed(schedule):
        if option not in ("lr_scheduler_type", "lr_scheduler_args", "lr_warmup_steps"):
            yield Notice(f"--{option} has no effect with --lr_scheduler_type {schedule.lr_scheduler_type}")


def _named(schedule: ScheduleOptions) -> Iterator[Finding]:
    name, warmup = schedule.name, schedule.lr_warmup_steps
    if name == "constant" and warmup:
        yield Problem(
            f"--lr_warmup_steps {warmup}: the schedule 'constant' has no warm-up; "
            "use --lr_scheduler constant_with_warmup, or leave the warm-up out"
        )
    if name == "piecewise_constant" and warmup:
        yield Notice(f"--lr_warmup_steps has no effect with --lr_scheduler {name}; begin step_rules with a low share")
    if name == "cosine_with_min_lr" and schedule.lr_scheduler_min_lr_ratio is None:
        yield Problem("--lr_scheduler cosine_with_min_lr needs --lr_scheduler_min_lr_ratio, such as 0.1")
    if name == "adafactor":
        yield Problem(
            f"--lr_scheduler {schedule.lr_scheduler} is what --optimizer_type Adafactor does by itself with "
            "relative_step=True; choose this optimizer, or another schedule"
        )
    if name == "piecewise_constant":
        yield from _piecewise(schedule)
    for option, users in _SCHEDULES_THAT_USE.items():
        if option in _changed(schedule) and name not in users:
            hint = " without --lr_scheduler_type" if option == "lr_scheduler_args" else ""
            yield Notice(f"--{option} has no effect with --lr_scheduler {name}{hint}")


def _piecewise(schedule: ScheduleOptions) -> Iterator[Finding]:
    texts = argument_texts(schedule.lr_scheduler_args or ())
    for problem in argument_problems("--lr_scheduler_args", "piecewise_constant", texts, ("step_rules",)):
        yield Problem(problem)
    try:
        rules_of(schedule)
    except UserError as error:
        yield from map(Problem, error.problems)


def _changed(schedule: ScheduleOptions) -> list[str]:
    """Options that are not at their defaults."""
    fields = type(schedule).model_fields
    return [name for name in fields if getattr(schedule, name) != fields[name].default]


SCHEDULE_RULES = (_schedule,)
