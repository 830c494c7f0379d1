"""Optimizer states that are the same after loading as they were when saved."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import torch


def keep_state_exact(optimizer: torch.optim.Optimizer) -> None:
    """From now on, what `load_state_dict` loads keeps the precision that it was saved in.

    PyTorch converts floating-point states to the precision of their parameter: those that an optimizer keeps in fp32
    for bf16 weights (NAdam, Adafactor, CAME) would be rounded, and those that it keeps in bf16 for fp32 weights would
    go on in another precision (Prodigy plus schedule-free), so that a resumed run would differ.
    """
    saved: dict[str, Any] = {}

    def remember(_: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        saved.update(state)

    def restore(loaded: torch.optim.Optimizer) -> None:
        for parameter, values in _states(loaded, saved):
            for name, value in values.items():
                if _differ(value, loaded.state[parameter].get(name)):
                    place = loaded.state[parameter][name].device
                    loaded.state[parameter][name] = value.detach().to(place, copy=True)
        saved.clear()

    optimizer.register_load_state_dict_pre_hook(remember)
    optimizer.register_load_state_dict_post_hook(restore)


def _states(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """(parameter, its saved state). Parameters are numbered in the order of groups."""
    numbers = chain.from_iterable(group["params"] for group in saved["param_groups"])
    parameters = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    for number, parameter in zip(numbers, parameters, strict=True):
        if number in saved["state"]:
            yield parameter, saved["state"][number]


def _differ(saved: Any, loaded: Any) -> bool:
    return isinstance(saved, torch.Tensor) and isinstance(loaded, torch.Tensor) and saved.dtype != loaded.dtype
