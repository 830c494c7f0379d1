"""How long the phases of a learning-rate schedule are, and whether they fit into the run. Needs torch only for
schedules that are classes."""

from library.options.groups import ScheduleOptions
from library.options.piecewise_rules import rules_of

_WITHOUT_WARMUP = ("constant", "piecewise_constant", "adafactor")


def count_steps(steps_or_share: int | float, max_train_steps: int) -> int:
    """An int counts steps already; a float is a share of the run."""
    return steps_or_share if isinstance(steps_or_share, int) else int(steps_or_share * max_train_steps)


def count_warmup(options: ScheduleOptions, max_train_steps: int) -> int:
    """Steps of the warm-up; 0 where the schedule has none."""
    if options.lr_scheduler_type or options.name in _WITHOUT_WARMUP:
        return 0
    return count_steps(options.lr_warmup_steps, max_train_steps)


def schedule_notices(options: ScheduleOptions, max_train_steps: int) -> list[str]:
    """What the options ask for that a run of this length does not get to.

    Args:
        options: as the optimizer leaves them (see schedule_beside).
        max_train_steps: optimizer steps of the whole run, already counted when epochs were given.

    Raises:
        UserError: the schedule is a class that there is not.
    """
    if options.lr_scheduler_type:
        from library.optimizers.schedule_classes import class_notices  # with torch, which nothing else needs

        return class_notices(options, max_train_steps)
    name, warmup = options.name, count_warmup(options, max_train_steps)
    notices = []
    if options.lr_warmup_steps and warmup == 0 and name not in _WITHOUT_WARMUP:
        notices.append(f"--lr_warmup_steps {options.lr_warmup_steps} is less than one of {max_train_steps} steps")
    if warmup >= max_train_steps:
        notices.append(
            f"--lr_warmup_steps {warmup}: training has only {max_train_steps} steps, "
            "so the learning rate never reaches its full value"
        )
    elif name == "warmup_stable_decay":
        notices += _notices_on_decay(warmup, count_steps(options.lr_decay_steps, max_train_steps), max_train_steps)
    elif name == "piecewise_constant":
        notices += _notices_on_rules(options, max_train_steps)
    return notices


def _notices_on_decay(warmup: int, decay: int, max_train_steps: int) -> list[str]:
    """The decay ends with the training. One that is too long begins before the warm-up has ended."""
    if decay == 0:
        return ["--lr_scheduler warmup_stable_decay: without --lr_decay_steps, the learning rate does not fall"]
    if warmup + decay > max_train_steps:
        return [
            f"--lr_decay_steps {decay}: together with {warmup} steps of warm-up, that is more than the "
            f"{max_train_steps} steps of training; the learning rate jumps into the middle of its decay"
        ]
    return []


def _notices_on_rules(options: ScheduleOptions, max_train_steps: int) -> list[str]:
    late = [str(step) for step, _ in rules_of(options).steps if step >= max_train_steps]
    if not late:
        return []
    return [
        f"--lr_scheduler_args step_rules: training has only {max_train_steps} steps, so that nothing changes at step "
        f"{', '.join(late)}"
    ]
