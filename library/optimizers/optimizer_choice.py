"""The optimizer that the options name, imported and built."""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch

from library.class_paths import find_class
from library.errors import UserError
from library.optimizers.evaluation_weights import averages_weights
from library.optimizers.exact_state import keep_state_exact
from library.optimizers.flat_adamw import FlatAdamW
from library.optimizers.known_optimizers import find_optimizer
from library.optimizers.optimizer_arguments import optimizer_arguments
from library.options.chosen_optimizer import ChosenOptimizer
from library.options.groups import OptimizerOptions

Group = Mapping[str, Any]
"""Parameters of an optimizer group, and perhaps their learning rate."""

_OF_FLAT_ADAMW = frozenset({"betas", "eps", "weight_decay"})
"""Arguments that the faster form of AdamW knows."""


@dataclass(frozen=True)
class OptimizerChoice:
    """An optimizer class and its arguments, checked against each other."""

    optimizer_class: Any
    arguments: dict[str, Any]
    named: str
    """the option and its value"""
    steps_relatively: bool = False
    """takes no learning rate"""

    def build(self, groups: Sequence[Group], learning_rate: float, in_backward: bool = False) -> torch.optim.Optimizer:
        """
        Args:
            learning_rate: of groups that have none.
            in_backward: it is to step one weight at a time, so that many must not be one for it.

        Raises:
            UserError: the class refuses a value, or what is to be trained.
        """
        unused = {"lr"} if self.steps_relatively else set()
        rated = [{name: value for name, value in group.items() if name not in unused} for group in groups]
        try:
            optimizer = self._make(rated, learning_rate, is_flat=self._can_be_flat and not in_backward)
            with redirect_stdout(io.StringIO()):  # some classes print what they are: once is enough
                self._take_a_trial_step(rated, learning_rate)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            arguments = ",".join(f"{name}={value}" for name, value in self.arguments.items())
            with_arguments = f" its arguments ({arguments})" if arguments else " what it is to train"
            raise UserError(
                f"{self.named}: {self.optimizer_class.__name__} refuses{with_arguments}: {error}"
            ) from error
        if not isinstance(optimizer, FlatAdamW):  # which takes care of it
            keep_state_exact(optimizer)
        return optimizer

    @property
    def _can_be_flat(self) -> bool:
        return self.optimizer_class is torch.optim.AdamW and self.arguments.keys() <= _OF_FLAT_ADAMW

    def _make(self, groups: Sequence[Group], learning_rate: float, is_flat: bool = False) -> torch.optim.Optimizer:
        """In training mode, if it has such."""
        chosen: Any = FlatAdamW if is_flat else self.optimizer_class
        optimizer: torch.optim.Optimizer = chosen(
            groups, lr=self._default_rate(groups, learning_rate), **self.arguments
        )
        if averages_weights(optimizer):
            optimizer.train()  # type: ignore[attr-defined]
        return optimizer

    def _default_rate(self, groups: Sequence[Group], learning_rate: float) -> float | None:
        """Some classes take no rate of 0, although all groups may have others."""
        if self.steps_relatively:
            return None
        return learning_rate or max(group.get("lr", learning_rate) for group in groups)

    def _take_a_trial_step(self, groups: Sequence[Group], learning_rate: float) -> None:
        """With a weight like the first one of each group, and an optimizer of its own: some values are refused, where
        device, rates or other arguments do not suit them, only at the first step."""
        examples = [{**group, "params": [_example(group["params"][0])]} for group in groups if group["params"]]
        self._make(examples, learning_rate).step()

    def describe(self) -> str:
        """module.Class(argument=value,...), as metadata have it."""
        name = f"{self.optimizer_class.__module__}.{self.optimizer_class.__name__}"
        listed = ",".join(f"{key}={value}" for key, value in self.arguments.items())
        return f"{name}({listed})" if listed else name


def _example(weight: torch.Tensor) -> torch.nn.Parameter:
    """A weight with a gradient, neither of them all zeros."""
    example = torch.nn.Parameter(torch.ones_like(weight))
    example.grad = torch.ones_like(weight)
    return example


def choose_optimizer(options: OptimizerOptions) -> OptimizerChoice:
    """Imports the optimizer that the options name.

    Raises:
        UserError: it is unknown, cannot be imported, or has no such arguments.
    """
    chosen, known = ChosenOptimizer(options), find_optimizer(options)
    named = f"--{chosen.option}" + (f" {chosen.name}" if chosen.option == "optimizer_type" else "")
    optimizer_class = _find_optimizer_class(known.import_path, f"--{chosen.option}")
    arguments = optimizer_arguments(chosen, known, optimizer_class)
    return OptimizerChoice(optimizer_class, arguments, named, chosen.steps_relatively)


def _find_optimizer_class(path: str, option: str) -> Any:
    """
    Raises:
        UserError: there is no such class, or it is none of optimizers.
    """
    found = find_class(path, option)
    if not issubclass(found, torch.optim.Optimizer):
        raise UserError(f"{option} {path}: {found.__name__} is no class of optimizers (torch.optim.Optimizer)")
    return found
