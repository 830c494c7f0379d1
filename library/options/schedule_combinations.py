"""Rules about options of the learning-rate schedule that depend on each other."""

from collections.abc import Iterator

from library.options.findings import Finding, Given, Notice, Problem
from library.options.schema import Settings

_SCHEDULES_THAT_USE = {
    "lr_scheduler_num_cycles": ("cosine_with_restarts", "cosine_with_min_lr", "warmup_stable_decay"),
    "lr_scheduler_power": ("polynomial",),
    "lr_scheduler_timescale": ("inverse_sqrt",),
    "lr_scheduler_min_lr_ratio": ("cosine_with_min_lr", "warmup_stable_decay"),
    "lr_decay_steps": ("warmup_stable_decay",),
}


def _schedule(settings: Settings, given: Given) -> Iterator[Finding]:
    schedule = settings.schedule
    name = schedule.lr_scheduler
    if name == "constant" and schedule.lr_warmup_steps:
        yield Problem(
            f"--lr_warmup_steps {schedule.lr_warmup_steps}: the schedule 'constant' has no warm-up; "
            "use --lr_scheduler constant_with_warmup, or leave the warm-up out"
        )
    if name == "cosine_with_min_lr" and schedule.lr_scheduler_min_lr_ratio is None:
        yield Problem("--lr_scheduler cosine_with_min_lr needs --lr_scheduler_min_lr_ratio")
    for option, users in _SCHEDULES_THAT_USE.items():
        value = getattr(schedule, option)
        if value != type(schedule).model_fields[option].default and name not in users:
            yield Notice(f"--{option} has no effect with --lr_scheduler {name}")


SCHEDULE_RULES = (_schedule,)
