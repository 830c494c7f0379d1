"""Gradients averaged over processes."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter


@torch.no_grad()
def average_gradients(parameters: Sequence[Parameter], reduce: Callable[[Tensor], Tensor]) -> None:
    """Gives each parameter the mean of its gradients in all processes, by one collective operation. Where a process has
    none, as when its module was dropped out, zeros count for it; where none has one, there is none afterwards either,
    so that the optimizer leaves the parameter alone.

    A process that has all gradients itself waits for nothing.

    Args:
        parameters: the same, in the same order, in each process; on one device.
        reduce: the mean of a vector over all processes.
    """
    gradients = [parameter.grad for parameter in parameters]
    has_gradient = [gradient is not None for gradient in gradients]
    parts = [
        parameter.new_zeros(parameter.numel()) if gradient is None else gradient.flatten()
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]
    averaged = reduce(torch.cat([*parts, _flags(has_gradient, parts[0])]))
    *means, flags = torch.split(averaged, [*(parameter.numel() for parameter in parameters), len(parameters)])
    is_found = has_gradient if all(has_gradient) else (flags > 0).tolist()
    for parameter, mean, found in zip(parameters, means, is_found, strict=True):
        parameter.grad = mean.view_as(parameter).to(parameter.dtype) if found else None


def _flags(has_gradient: Sequence[bool], like: Tensor) -> Tensor:
    """1 where there is a gradient. In the usual case they are made on the device: copied, they would be waited for."""
    if all(has_gradient):
        return like.new_ones(len(has_gradient))
    return like.new_tensor([float(has) for has in has_gradient])
