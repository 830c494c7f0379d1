"""Learning-rate schedules by the names that --lr_scheduler knows."""

from typing import Any

import torch
from transformers.optimization import get_scheduler

from library.options.groups import ScheduleOptions


def count_steps(steps_or_share: int | float, max_train_steps: int) -> int:
    """An int counts steps already; a float is a share of the run."""
    return steps_or_share if isinstance(steps_or_share, int) else int(steps_or_share * max_train_steps)


def build_schedule(
    options: ScheduleOptions, optimizer: torch.optim.Optimizer, max_train_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """A schedule that is advanced once per optimizer step, whatever the number of processes."""
    return get_scheduler(
        options.lr_scheduler,
        optimizer,
        num_warmup_steps=count_steps(options.lr_warmup_steps, max_train_steps),
        num_training_steps=max_train_steps,
        scheduler_specific_kwargs=_arguments(options, max_train_steps),
    )


def _arguments(options: ScheduleOptions, max_train_steps: int) -> dict[str, Any]:
    decay = count_steps(options.lr_decay_steps, max_train_steps)
    half_cycles = options.lr_scheduler_num_cycles / 2
    arguments: dict[str, dict[str, Any]] = {
        "cosine_with_restarts": {"num_cycles": options.lr_scheduler_num_cycles},
        "polynomial": {"power": options.lr_scheduler_power},
        "inverse_sqrt": {"timescale": options.lr_scheduler_timescale},
        "cosine_with_min_lr": {"num_cycles": half_cycles, "min_lr_rate": options.lr_scheduler_min_lr_ratio},
        "warmup_stable_decay": {
            "num_decay_steps": decay,
            "num_cycles": half_cycles,
            "min_lr_ratio": options.lr_scheduler_min_lr_ratio or 0.0,
        },
    }
    return arguments.get(options.lr_scheduler, {})
