"""The learning rates of a whole run before it begins. Needs torch only for schedules that are classes."""

from collections.abc import Sequence

from library.errors import UserError
from library.optimizers.schedule_shapes import relative_step_size, shape_of
from library.options.chosen_optimizer import ChosenOptimizer
from library.options.groups import OptimizerOptions, ScheduleOptions
from library.options.key_value_arguments import parse_arguments


def schedule_beside(optimizer: OptimizerOptions, schedule: ScheduleOptions) -> ScheduleOptions:
    """The schedule that is left to do beside what the optimizer does by itself."""
    chosen = ChosenOptimizer(optimizer)
    if chosen.steps_relatively:
        return ScheduleOptions(lr_scheduler="adafactor")
    return ScheduleOptions() if chosen.has_own_schedule else schedule


def scheduled_rates(
    schedule: ScheduleOptions, optimizer: OptimizerOptions, groups: Sequence[float], max_train_steps: int
) -> list[list[float]] | None:
    """
    Args:
        schedule: as the optimizer leaves it (see schedule_beside).
        groups: learning rates of the optimizer's groups, as far as they are known.

    Returns:
        For each group, the rates with which the steps of the run are taken, exactly those of build_schedule. None if
        they depend on how many groups the network has.

    Raises:
        UserError: there is no such schedule, or the run cannot go through it.
    """
    if schedule.lr_scheduler_type:
        return _rates_of_class(schedule, optimizer.learning_rate, groups, max_train_steps)
    if schedule.name == "adafactor":
        begins_small = ChosenOptimizer(optimizer).begins_small
        rates = [relative_step_size(step, begins_small) for step in range(max_train_steps)]
        return [rates] * len(groups)
    shape = shape_of(schedule, max_train_steps, [optimizer.learning_rate, *groups])
    factors = [shape(step) for step in range(max_train_steps)]
    return [[rate * factor for factor in factors] for rate in groups]


def _rates_of_class(
    schedule: ScheduleOptions, learning_rate: float, groups: Sequence[float], max_train_steps: int
) -> list[list[float]] | None:
    from library.optimizers.schedule_classes import rehearse_class  # with torch, which nothing else needs

    try:
        return rehearse_class(schedule, learning_rate, groups, max_train_steps)
    except UserError:
        values = parse_arguments(schedule.lr_scheduler_args or ()).values()
        lengths = {len(value) for value in values if isinstance(value, (list, tuple)) and value}
        if any(_takes_groups(schedule, learning_rate, length, max_train_steps) for length in lengths):
            return None
        raise


def _takes_groups(schedule: ScheduleOptions, learning_rate: float, groups: int, max_train_steps: int) -> bool:
    """Whether the run can go through the schedule with so many groups, for each of which a list may have a rate."""
    from library.optimizers.schedule_classes import rehearse_class

    try:
        rehearse_class(schedule, learning_rate, [learning_rate] * groups, max_train_steps)
    except UserError:
        return False
    return True
