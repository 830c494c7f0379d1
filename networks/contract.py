"""What a network module must offer, and the check that it does.

A network module is named by --network_module and imported by its dotted path. It creates a network; the
trainer then talks to that network through the methods below and nothing else. The contract is that of
kohya's sd-scripts, so that modules written for it work here.
"""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import nn

from library.errors import UserError
from networks.module_lookup import explain_missing_module, search_working_directory

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

    def merge_to(
        self, text_encoder: Any, unet: nn.Module, weights_sd: Any, dtype: torch.dtype | None, device: Any
    ) -> None: ...


MODULE_FUNCTIONS = ("create_network", "create_network_from_weights")
NETWORK_METHODS = tuple(name for name in vars(Network) if not name.startswith("_"))


def import_network_module(path: str) -> ModuleType:
    """Imports a network module; the working directory counts as a place to look in, as users expect.

    Raises:
        UserError: there is no such module, or it lacks functions of the contract.
    """
    search_working_directory()
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        raise UserError(explain_missing_module(path, error.name or "")) from None
    missing = [name for name in MODULE_FUNCTIONS if not callable(getattr(module, name, None))]
    if missing:
        raise UserError(f"--network_module {path}: it is no network module, since it lacks {', '.join(missing)}")
    return module


def check_network(network: Any, path: str) -> None:
    """
    Raises:
        UserError: the network lacks methods of the contract; lists them.
    """
    missing = [name for name in NETWORK_METHODS if not callable(getattr(network, name, None))]
    if not isinstance(network, nn.Module):
        missing.insert(0, "the base class torch.nn.Module")
    if missing:
        raise UserError(f"--network_module {path}: its network lacks {', '.join(missing)}")
