"""Creates the network by the contract, applies it to the model, and asks it what to train."""

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from library.errors import UserError
from library.metadata.training_metadata import network_arguments
from library.models.adapter import ModelAdapter, NetworkViews
from library.models.network_view import changes_to_view, leaves_of
from library.options.groups import NetworkOptions, OptimizerOptions
from library.randomness import derive_seed
from library.training.network_start import create_from_file, load_start
from library.wording import counted
from networks.arguments import MODULES
from networks.contract import call_module, check_network
from networks.unread_arguments import unread_arguments

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainableNetwork:
    network: Any
    """Meets networks.contract.Network, and is applied to the model."""
    groups: list[dict[str, Any]]
    """Parameters and learning rates for the optimizer."""
    descriptions: list[str]
    """Name of each group in the log."""
    before_epoch: Callable[[], None]
    before_batch: Callable[[], None]


def build_network(
    module: ModuleType,
    model: ModelAdapter,
    options: NetworkOptions,
    rates: OptimizerOptions,
    all_options: Mapping[str, Any],
    seed: int,
    gradient_checkpointing: bool,
) -> TrainableNetwork:
    """
    Args:
        module: what --network_module names.
        all_options: for third-party networks that ask for the trainer's options by kohya's names.

    Raises:
        UserError: the network lacks parts of the contract, refuses an argument, or has nothing to train.
    """
    views, text_encoders = model.views(), model.views().text_encoders_as_kohya()
    leaves = [leaves_of(view) for view in _trained_views(views)]
    torch.manual_seed(derive_seed(seed, "network initialisation"))
    network = _create_network(module, views, options)
    if hasattr(network, "prepare_network"):
        network.prepare_network(SimpleNamespace(**all_options))
    network.apply_to(
        text_encoders,
        views.unet,
        not options.network_train_unet_only,
        not options.network_train_text_encoder_only,
    )
    for view, of_view in zip(_trained_views(views), leaves, strict=True):
        _require_the_models_layers(changes_to_view(view, of_view), options)
    if options.network_weights:
        load_start(network, options.network_weights, options.dim_from_weights)
    if gradient_checkpointing:
        network.enable_gradient_checkpointing()
    groups, descriptions = _optimizer_groups(network, rates)
    network.prepare_grad_etc(text_encoders, views.unet)
    _freeze_what_is_not_in(groups, network)
    return TrainableNetwork(
        network,
        groups,
        descriptions,
        before_epoch=partial(network.on_epoch_start, text_encoders, views.unet),
        before_batch=partial(getattr(network, "on_step_start", _ignore), text_encoders, views.unet),
    )


def _trained_views(views: NetworkViews) -> tuple[torch.nn.Module, ...]:
    return (views.unet, *views.text_encoders)


def _create_network(module: ModuleType, views: NetworkViews, options: NetworkOptions) -> Any:
    if options.network_weights and options.dim_from_weights:
        network = create_from_file(module, views, options.network_weights, network_arguments(options))
    else:
        network = call_module(
            module,
            "create_network",
            1.0,
            options.network_dim,
            options.network_alpha,
            views.vae,
            views.text_encoders_as_kohya(),
            views.unet,
            neuron_dropout=options.network_dropout,
            **network_arguments(options),
        )
    check_network(network, str(options.network_module))
    if module.__name__ not in MODULES:  # ours refuse what they do not know
        for warning in unread_arguments(module, _names_given(options)):
            logger.warning(warning)
    return network


def _names_given(options: NetworkOptions) -> list[str]:
    return [pair.split("=", 1)[0] for pair in options.network_args or ()]


def _require_the_models_layers(changes: list[str], options: NetworkOptions) -> None:
    """
    Raises:
        UserError: the network changed the view (see network_view.py).
    """
    if changes:
        raise UserError(
            f"--network_module {options.network_module}: it replaces or wraps {changes[0]} "
            f"({counted(len(changes), 'place')} in all), which the model takes no notice of: nothing would be trained. "
            "A network must patch `forward` of the layers it is given, as docs/network_modules.md says"
        )


def _freeze_what_is_not_in(groups: list[dict[str, Any]], network: torch.nn.Module) -> None:
    """Parameters that no optimizer moves, as of a part whose rate is 0, need no gradients, nor count in their norm."""
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    for parameter in network.parameters():
        if id(parameter) not in trained:
            parameter.requires_grad_(False)


def _ignore(text_encoders: Any, unet: Any) -> None:
    """For networks that need not know when a batch begins."""


def _optimizer_groups(network: Any, rates: OptimizerOptions) -> tuple[list[dict[str, Any]], list[str]]:
    result = _ask_for_groups(network, rates)
    groups, descriptions = result if isinstance(result, tuple) else (result, None)
    groups = [_plain_group(group) for group in groups]
    if not any(group["params"] for group in groups):
        raise UserError("nothing would be trained: every learning rate is 0 or no layer of the model is adapted")
    return groups, list(descriptions or (f"group{number}" for number in range(len(groups))))


def _plain_group(group: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters may come as a view of a dictionary, which cannot be copied or pickled. Without a rate, the optimizer's
    counts."""
    rate = {} if group.get("lr") is None else {"lr": group["lr"]}
    others = {name: value for name, value in group.items() if name not in ("params", "lr")}
    return {"params": list(group["params"]), **rate, **others}


def _ask_for_groups(network: Any, rates: OptimizerOptions) -> Any:
    """
    Raises:
        UserError: the module knows one rate for all text encoders, but different ones were given.
    """
    for_encoders = list(rates.text_encoder_lr or ())
    if hasattr(network, "prepare_optimizer_params_with_multiple_te_lrs"):
        return network.prepare_optimizer_params_with_multiple_te_lrs(for_encoders, rates.unet_lr, rates.learning_rate)
    if len(set(for_encoders)) > 1:
        raise UserError(
            f"--text_encoder_lr {' '.join(map(str, for_encoders))}: the --network_module knows one rate for all text "
            "encoders; give one"
        )
    for_all = for_encoders[0] if for_encoders else None
    given = (for_all, rates.unet_lr, rates.learning_rate)
    if not _takes(network.prepare_optimizer_params, given):
        given = given[:2]  # older modules know no default rate
    return network.prepare_optimizer_params(*given)


def _takes(method: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
    try:
        inspect.signature(method).bind(*arguments)
    except TypeError:
        return False
    return True
