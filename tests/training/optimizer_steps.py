"""Optimizer steps of networks and objectives that stand in for real ones."""

from typing import Any

import torch
from accelerate import Accelerator

from library.training.optimization import OptimizerStep


def optimizer_step(network: Any, objective: Any, optimizer: torch.optim.Optimizer, **changes: Any) -> OptimizerStep:
    """Without limits, at constant learning rates, in one process; keyword arguments are fields of OptimizerStep."""
    accelerator = Accelerator()
    fields = {
        "model": None,
        "schedule": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
        "max_grad_norm": 0.0,
        "seed": 1,
        "before_batch": lambda: None,
        "after_update": lambda: None,
    }
    return OptimizerStep(
        accelerator=accelerator,
        network=network,
        objective=objective,
        optimizer=accelerator.prepare_optimizer(optimizer),
        **(fields | changes),
    )
