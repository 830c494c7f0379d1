"""What a network module must offer, and the check that it does.

A network module is named by --network_module and imported by its dotted path. It creates a network; the
trainer then talks to that network through the methods below and nothing else. The contract is that of
kohya's sd-scripts, so that modules written for it work here. docs/network_modules.md explains it to authors.
"""

import importlib
import inspect
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import nn

from library.errors import UserError
from library.working_directory import search_working_directory
from networks.class_attributes import restore_class_attributes
from networks.module_lookup import explain_missing_module, is_ours_or_beside, resolve_alias

OptimizerGroups = Sequence[dict[str, Any]]


class Network(Protocol):
    """The trainable part: an nn.Module with these methods."""

    def apply_to(self, text_encoder: Any, unet: nn.Module, apply_text_encoder: bool, apply_unet: bool) -> None:
        """Hooks the network into the model's layers; from then on the model computes with it."""
        ...

    def load_weights(self, file: str) -> Any: ...

    def enable_gradient_checkpointing(self) -> None: ...

    def prepare_optimizer_params(
        self, text_encoder_lr: float | None, unet_lr: float | None, default_lr: float | None
    ) -> OptimizerGroups | tuple[OptimizerGroups, Sequence[str]]:
        """Parameter groups with their learning rates, perhaps with a description of each."""
        ...

    def prepare_grad_etc(self, text_encoder: Any, unet: nn.Module) -> None: ...

    def on_epoch_start(self, text_encoder: Any, unet: nn.Module) -> None: ...

    def get_trainable_params(self) -> Iterable[nn.Parameter]: ...

    def save_weights(self, file: str, dtype: torch.dtype | None, metadata: Mapping[str, str] | None) -> None: ...


class OptionalMethods(Protocol):
    """What is called if a network has it."""

    def prepare_network(self, args: Any) -> None:
        """Gets all options of the run under kohya's names, before apply_to."""
        ...

    def prepare_optimizer_params_with_multiple_te_lrs(
        self, text_encoder_lr: Sequence[float], unet_lr: float | None, default_lr: float | None
    ) -> OptimizerGroups | tuple[OptimizerGroups, Sequence[str]]:
        """In place of prepare_optimizer_params: a rate for each text encoder."""
        ...

    def on_step_start(self, text_encoder: Any, unet: nn.Module) -> None:
        """Before each batch."""
        ...

    def set_multiplier(self, multiplier: float) -> None:
        """The strength from now on; 0 = the model computes as if there were no network. Needed where datasets have a
        network_multiplier, or images that are to be left as they are (diff_output_preservation)."""
        ...

    def apply_max_norm_regularization(self, max_norm_value: float, device: Any) -> Any:
        """After each step; needed for --scale_weight_norms. Returns the number of scaled keys, the mean and the largest
        norm, as numbers or tensors."""
        ...


MODULE_FUNCTIONS = ("create_network", "create_network_from_weights")
NETWORK_METHODS = tuple(name for name in vars(Network) if not name.startswith("_"))
OPTIONAL_METHODS = tuple(name for name in vars(OptionalMethods) if not name.startswith("_"))


def import_network_module(path: str) -> ModuleType:
    """Imports a network module; the working directory counts as a place to look in, as users expect.

    What an earlier run in this process changed in the module's classes is undone.

    Raises:
        UserError: there is no such module, or it lacks functions of the contract.
    """
    search_working_directory()
    try:
        module = importlib.import_module(resolve_alias(path))
    except ModuleNotFoundError as error:
        raise UserError(explain_missing_module(path, error.name or "")) from None
    missing = [name for name in MODULE_FUNCTIONS if not callable(getattr(module, name, None))]
    if missing:
        raise UserError(f"--network_module {path}: it is no network module, since it lacks {', '.join(missing)}")
    restore_class_attributes(module)
    return module


def call_module(module: ModuleType, name: str, *arguments: Any, **keywords: Any) -> Any:
    """Calls a function of a network module by its name.

    Raises:
        UserError: it does not take these arguments, or, if the module is a package of others, it failed: mostly
            since it does not like what --network_args says. (Whoever has a module beside ours wrote it, and needs the
            traceback.)
    """
    function, named = getattr(module, name), f"--network_module {module.__name__}: its {name}"
    try:
        inspect.signature(function).bind(*arguments, **keywords)
    except TypeError as error:
        raise UserError(f"{named} does not fit the contract, or --network_args: {error}") from None
    except ValueError:  # a compiled function, which has no signature
        pass
    try:
        return function(*arguments, **keywords)
    except UserError:
        raise
    except Exception as error:
        if is_ours_or_beside(module.__name__):
            raise
        suspects = _suspects(error, keywords)
        suspected = f"--network_args {' '.join(suspects)}" if suspects else "--network_args"
        raise UserError(f"{named} failed with {describe_failure(error)}; check {suspected}") from error


def _suspects(error: Exception, arguments: Mapping[str, Any]) -> list[str]:
    """Which --network_args an error is about: its text has the value, or else the line that failed has the name."""
    given = {name: value for name, value in arguments.items() if isinstance(value, str) and value}
    by_value = [name for name, value in given.items() if value.lower() in _words(str(error).lower())]
    line = traceback.extract_tb(error.__traceback__)[-1].line or ""
    names = by_value or [name for name in given if name in _words(line)]
    return [f"{name}={given[name]}" for name in names]


def _words(text: str) -> list[str]:
    """What stands between blanks, quotes and punctuation; dots and hyphens are part of numbers and names."""
    return re.findall(r"[\w.+-]+", text)


def describe_failure(error: Exception) -> str:
    """What happened, and where, on one line."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{what} ({place.filename}, line {place.lineno}: {place.line})"


def check_network(network: Any, path: str) -> None:
    """
    Raises:
        UserError: there is no network, or it lacks methods of the contract; lists them.
    """
    if network is None:
        raise UserError(f"--network_module {path}: it made no network, so that there is nothing to train")
    missing = [name for name in NETWORK_METHODS if not callable(getattr(network, name, None))]
    if not isinstance(network, nn.Module):
        missing.insert(0, "the base class torch.nn.Module")
    if missing:
        raise UserError(f"--network_module {path}: its network lacks {', '.join(missing)}")
