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
from library.optimizers.known_optimizers import KnownOptimizer, find_optimizer
from library.optimizers.optimizer_arguments import optimizer_arguments
from library.options.chosen_optimizer import ChosenOptimizer
from library.options.groups import OptimizerOptions

Group = Mapping[str, Any]
"""Parameters of an optimizer group, and perhaps their learning rate."""

_OF_FLAT_ADAMW = frozenset({"betas", "eps", "weight_decay"})
"""Arguments that the faster form of AdamW knows."""

_REMEDIES: Mapping[str, str] = {
    "Muon": "; it moves matrices only, which neither convolutions are nor the projections of SD 1.x; use another "
    "optimizer, such as AdamW",
}
"""Name of a class -> what to do where it refuses what it is to train."""


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
            arguments = f"its arguments ({self._listed_arguments}) or " if self.arguments else ""
            remedy = _REMEDIES.get(self.optimizer_class.__name__, "")
            raise self._refusal(f"{arguments}what it is to train", f"{error}{remedy}") from error
        if not isinstance(optimizer, FlatAdamW):  # which takes care of it
            keep_state_exact(optimizer)
        return optimizer

    def try_arguments(self) -> None:
        """With a weight that stands for those to come: most values are refused before anything is loaded.

        Raises:
            UserError: the class refuses them.
        """
        try:
            with redirect_stdout(io.StringIO()):
                self._make([{"params": [torch.nn.Parameter(torch.ones(2, 2))]}], learning_rate=1.0)
        except Exception as error:
            what = f"its arguments ({self._listed_arguments})" if self.arguments else "to be made"
            raise self._refusal(what, str(error)) from error

    def _refusal(self, what: str, reason: str) -> UserError:
        return UserError(f"{self.named}: {self.optimizer_class.__name__} refuses {what}: {reason}")

    @property
    def _listed_arguments(self) -> str:
        return ",".join(f"{name}={value}" for name, value in self.arguments.items())

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
        return f"{name}({self._listed_arguments})" if self.arguments else name


def _example(weight: torch.Tensor) -> torch.nn.Parameter:
    """A weight with a gradient, neither of them all zeros."""
    example = torch.nn.Parameter(torch.ones_like(weight))
    example.grad = torch.ones_like(weight)
    return example


def choose_optimizer(options: OptimizerOptions) -> OptimizerChoice:
    """Imports the optimizer that the options name.

    Raises:
        UserError: it is unknown, cannot be imported, or refuses its arguments.
    """
    chosen, known = ChosenOptimizer(options), find_optimizer(options)
    optimizer_class = _find_optimizer_class(known, chosen.named)
    arguments = optimizer_arguments(chosen, known, optimizer_class)
    choice = OptimizerChoice(optimizer_class, arguments, chosen.named, chosen.steps_relatively)
    choice.try_arguments()
    return choice


def _find_optimizer_class(known: KnownOptimizer, named: str) -> Any:
    """
    Raises:
        UserError: there is no such class, or it is none of optimizers.
    """
    found = find_class(known.import_path, named, known.pip_name)
    if not issubclass(found, torch.optim.Optimizer):
        raise UserError(f"{named}: {found.__name__} is no class of optimizers (torch.optim.Optimizer)")
    return found
