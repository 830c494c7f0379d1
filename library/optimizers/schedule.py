"""Learning-rate schedules by the names that --lr_scheduler knows."""

from functools import partial
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers.optimization import get_scheduler

from library.errors import UserError
from library.optimizers.schedule_lengths import count_steps
from library.options.groups import ScheduleOptions

POLYNOMIAL_END = 1e-7
"""Learning rate at the end of the polynomial schedule, as elsewhere."""


def build_schedule(
    options: ScheduleOptions, optimizer: torch.optim.Optimizer, max_train_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """A schedule that is advanced once per optimizer step, whatever the number of processes.

    Raises:
        UserError: the schedule would end above the rate that it begins with.
    """
    warmup = count_steps(options.lr_warmup_steps, max_train_steps)
    if options.lr_scheduler == "polynomial":
        return _polynomial(optimizer, warmup, max_train_steps, options.lr_scheduler_power)
    return get_scheduler(
        options.lr_scheduler,
        optimizer,
        num_warmup_steps=warmup,
        num_training_steps=max_train_steps,
        scheduler_specific_kwargs=_arguments(options, max_train_steps),
    )


def _arguments(options: ScheduleOptions, max_train_steps: int) -> dict[str, Any]:
    decay = count_steps(options.lr_decay_steps, max_train_steps)
    half_cycles = options.lr_scheduler_num_cycles / 2
    arguments: dict[str, dict[str, Any]] = {
        "cosine_with_restarts": {"num_cycles": options.lr_scheduler_num_cycles},
        "inverse_sqrt": {"timescale": options.lr_scheduler_timescale},
        "cosine_with_min_lr": {"num_cycles": half_cycles, "min_lr_rate": options.lr_scheduler_min_lr_ratio},
        "warmup_stable_decay": {
            "num_decay_steps": decay,
            "num_cycles": half_cycles,
            "min_lr_ratio": options.lr_scheduler_min_lr_ratio or 0.0,
        },
    }
    return arguments.get(options.lr_scheduler, {})


def _polynomial(optimizer: torch.optim.Optimizer, warmup: int, max_train_steps: int, power: float) -> LambdaLR:
    """As in transformers, where --learning_rate falls to 1e-7 and the rates of all groups by the same factor. There,
    it must be above 1e-7; here, the highest rate of a group stands in for one that is not, such as 0 with a rate for
    the U-Net alone."""
    rates = [optimizer.defaults["lr"], max(group["lr"] for group in optimizer.param_groups)]
    initial = next((rate for rate in rates if rate > POLYNOMIAL_END), None)
    if initial is None:
        raise UserError(
            f"--lr_scheduler polynomial falls to a learning rate of {POLYNOMIAL_END}, but the highest one is "
            f"{rates[-1]}: raise --learning_rate, or use --lr_scheduler linear, which falls to 0"
        )
    factor = partial(_polynomial_factor, warmup=warmup, steps=max_train_steps, power=power, initial=initial)
    return LambdaLR(optimizer, factor)


def _polynomial_factor(step: int, *, warmup: int, steps: int, power: float, initial: float) -> float:
    if step < warmup:
        return step / warmup
    if step >= steps:
        return POLYNOMIAL_END / initial
    remaining: float = 1 - (step - warmup) / (steps - warmup)
    return ((initial - POLYNOMIAL_END) * remaining**power + POLYNOMIAL_END) / initial
