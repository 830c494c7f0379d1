"""Learning-rate schedules that torch's optimizers take."""

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from library.optimizers.schedule_classes import build_class
from library.optimizers.schedule_shapes import relative_step_size, shape_of
from library.options.groups import ScheduleOptions


def build_schedule(options: ScheduleOptions, optimizer: torch.optim.Optimizer, max_train_steps: int) -> LRScheduler:
    """A schedule that is advanced once per optimizer step, whatever the number of processes.

    Args:
        options: as the optimizer leaves them (see schedule_beside).
        max_train_steps: optimizer steps of the whole run.

    Raises:
        UserError: the schedule would end above the rate that it begins with, or the class refuses its arguments.
    """
    if options.lr_scheduler_type:
        return build_class(options, optimizer, max_train_steps)
    if options.name == "adafactor":
        return RelativeStepSizes(optimizer)
    rates = [optimizer.defaults["lr"], *(group["lr"] for group in optimizer.param_groups)]
    return LambdaLR(optimizer, shape_of(options, max_train_steps, rates))


class RelativeStepSizes(LRScheduler):
    """Says what Adafactor computes by itself, so that logs show it; each weight is also moved in proportion to its size
    where scale_parameter is on. A function of the step alone: nothing is read from the optimizer's state."""

    def get_lr(self) -> list[float | torch.Tensor]:
        return [
            relative_step_size(self.last_epoch, group.get("warmup_init", False))
            for group in self.optimizer.param_groups
        ]
