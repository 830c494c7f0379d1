"""Steps within the backward pass, so that there never is more than one weight's gradient."""

from functools import partial

import torch
from torch.nn import Parameter


def step_in_backward(optimizer: torch.optim.Optimizer) -> None:
    """From now on, each backward pass moves each weight as soon as its gradient is there, and drops the gradient. After
    it, a call of the optimizer's step finds no gradient and moves nothing.

    The results and the state are those of steps after the backward pass, for optimizers whose step for a weight depends
    on nothing but this weight's gradient and state. Accumulated, scaled or clipped gradients are not possible: each
    backward pass is a step.

    Args:
        optimizer: itself, not wrapped.
    """
    for index, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            parameter.register_post_accumulate_grad_hook(partial(_step_one, optimizer, index))


def _step_one(optimizer: torch.optim.Optimizer, index: int, parameter: Parameter) -> None:
    """Shows the optimizer nothing but one parameter for a step.

    Args:
        index: of its group; the group itself is another one after a state was loaded.
    """
    groups = optimizer.param_groups
    group = groups[index]
    parameters = group["params"]
    optimizer.param_groups, group["params"] = [group], [parameter]
    try:
        optimizer.step()
    finally:
        optimizer.param_groups, group["params"] = groups, parameters
    parameter.grad = None
