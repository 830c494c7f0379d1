"""Optimizers by the names that --optimizer_type knows."""

import ast
import importlib
import importlib.util
import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from library.errors import UserError
from library.options.groups import OptimizerOptions
from library.options.suggestions import suggest

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class KnownOptimizer:
    name: str
    import_path: str
    package: str = "torch"

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None


OPTIMIZERS = (
    KnownOptimizer("AdamW", "torch.optim.AdamW"),
    KnownOptimizer("AdamW8bit", "bitsandbytes.optim.AdamW8bit", "bitsandbytes"),
)


def find_optimizer(options: OptimizerOptions) -> KnownOptimizer:
    """The optimizer that the options name, without importing it.

    Raises:
        UserError: there is none of that name, or its package is not installed.
    """
    option, name = (
        ("use_8bit_adam", "AdamW8bit") if options.use_8bit_adam else ("optimizer_type", options.optimizer_type)
    )
    wanted = name or "AdamW"
    known = next((known for known in OPTIMIZERS if known.name.lower() == wanted.lower()), None)
    if known is None:
        names = [known.name for known in OPTIMIZERS]
        raise UserError(
            f"--optimizer_type {wanted}: not available in this version; use one of: {', '.join(names)}."
            f"{suggest(wanted, names)}"
        )
    if not known.is_installed:
        raise UserError(
            f"--{option} needs the package {known.package}, which is not installed: pip install {known.package}"
        )
    return known


def parse_optimizer_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """key=value texts; values are Python literals, or plain text when they are none."""
    arguments = {}
    for pair in pairs:
        key, value = pair.split("=", 1)
        try:
            arguments[key.strip()] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError):
            arguments[key.strip()] = value
    return arguments


@dataclass(frozen=True)
class OptimizerChoice:
    """An optimizer class and its arguments, checked against each other."""

    optimizer_class: Any
    arguments: dict[str, Any]

    def build(self, groups: Iterable[Any], learning_rate: float) -> "torch.optim.Optimizer":
        """
        Raises:
            UserError: the class refuses a value.
        """
        try:
            optimizer: torch.optim.Optimizer = self.optimizer_class(groups, lr=learning_rate, **self.arguments)
            if self.arguments:
                self._take_a_trial_step(optimizer.param_groups[0]["params"][0], learning_rate)
            return optimizer
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            raise UserError(
                f"--optimizer_args: {self.optimizer_class.__name__} refuses its arguments: {error}"
            ) from None

    def _take_a_trial_step(self, example: "torch.Tensor", learning_rate: float) -> None:
        """With a weight like `example` and an optimizer of its own: some values are refused, where device or other
        arguments do not suit them, only at the first step."""
        weight = example.detach().clone().requires_grad_()
        weight.grad = weight.detach().clone()
        self.optimizer_class([weight], lr=learning_rate, **self.arguments).step()

    def describe(self) -> str:
        """module.Class(argument=value,...), as metadata have it."""
        name = f"{self.optimizer_class.__module__}.{self.optimizer_class.__name__}"
        listed = ",".join(f"{key}={value}" for key, value in self.arguments.items())
        return f"{name}({listed})" if listed else name


def choose_optimizer(options: OptimizerOptions) -> OptimizerChoice:
    """Imports the optimizer that the options name.

    Raises:
        UserError: it is unknown, cannot be imported, or has no such arguments.
    """
    module, name = find_optimizer(options).import_path.rsplit(".", 1)
    optimizer_class = getattr(importlib.import_module(module), name)
    arguments = parse_optimizer_arguments(options.optimizer_args or ())
    known = [
        parameter for parameter in inspect.signature(optimizer_class).parameters if parameter not in ("params", "lr")
    ]
    problems = [
        f"--optimizer_args {key}: {name} has no such argument; it has {', '.join(known)}.{suggest(key, known)}"
        for key in arguments
        if key not in known
    ]
    problems += [
        f"--optimizer_args {key}={value}: any text counts as true; write {key}={value.capitalize()}"
        for key, value in arguments.items()
        if isinstance(value, str) and value.lower() in ("true", "false")
    ]
    if problems:
        raise UserError(problems)
    return OptimizerChoice(optimizer_class, arguments)
