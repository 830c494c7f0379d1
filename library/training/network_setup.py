"""Creates the network by the contract, applies it to the model, and asks it what to train."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from library.errors import UserError
from library.metadata.training_metadata import network_arguments
from library.models.adapter import ModelAdapter, NetworkViews
from library.options.groups import NetworkOptions, OptimizerOptions
from library.randomness import derive_seed
from networks.contract import check_network


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
    if gradient_checkpointing:
        network.enable_gradient_checkpointing()
    groups, descriptions = _optimizer_groups(network, rates)
    network.prepare_grad_etc(text_encoders, views.unet)
    return TrainableNetwork(
        network,
        groups,
        descriptions,
        before_epoch=partial(network.on_epoch_start, text_encoders, views.unet),
        before_batch=partial(getattr(network, "on_step_start", _ignore), text_encoders, views.unet),
    )


def _create_network(module: ModuleType, views: NetworkViews, options: NetworkOptions) -> Any:
    network = module.create_network(
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
    return network


def _ignore(text_encoders: Any, unet: Any) -> None:
    """For networks that need not know when a batch begins."""


def _optimizer_groups(network: Any, rates: OptimizerOptions) -> tuple[list[dict[str, Any]], list[str]]:
    result = _ask_for_groups(network, rates)
    groups, descriptions = result if isinstance(result, tuple) else (result, None)
    if not groups:
        raise UserError("nothing would be trained: every learning rate is 0 or no layer of the model is adapted")
    # parameters may come as views of a dictionary, which cannot be copied or pickled
    groups = [{**group, "params": list(group["params"])} for group in groups]
    return groups, list(descriptions or (f"group{number}" for number in range(len(groups))))


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
    try:
        return network.prepare_optimizer_params(for_all, rates.unet_lr, rates.learning_rate)
    except TypeError:  # older modules know no default rate
        return network.prepare_optimizer_params(for_all, rates.unet_lr)
