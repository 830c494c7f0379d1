"""Creates the network by the contract, applies it to the model, and asks it what to train."""

import inspect
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from library.errors import UserError
from library.metadata.training_metadata import network_arguments
from library.models.adapter import ModelAdapter, NetworkViews
from library.models.network_view import changes_to_view, leaves_of
from library.options.chosen_optimizer import ChosenOptimizer
from library.options.groups import NetworkOptions, OptimizerOptions
from library.options.part_rates import OF_TEXT_ENCODERS, OF_UNET, part_rates
from library.randomness import derive_seed
from library.training.network_start import create_from_file, load_start
from library.wording import counted
from networks.arguments import MODULES
from networks.contract import call_module, check_network
from networks.network.description import PARTS, describe_groups, describe_network, layers_by_part
from networks.network.layer_network import LayerNetwork
from networks.unread_arguments import unread_arguments

logger = logging.getLogger(__name__)


_LEAVING_OUT = frozenset({
    "algo", "block_dims", "block_lr_zero_threshold", "conv_block_dims", "conv_dim", "down_lr_weight",
    "exclude_patterns", "include_patterns", "mid_lr_weight", "network_reg_dims", "network_reg_lrs", "preset",
    "up_lr_weight",
})  # fmt: skip
"""Arguments, also of networks of others, by which layers can be left out or get a learning rate of 0."""


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
        _applies_to(OF_TEXT_ENCODERS, network, options, rates),
        _applies_to(OF_UNET, network, options, rates),
    )
    for view, of_view in zip(_trained_views(views), leaves, strict=True):
        _require_the_models_layers(changes_to_view(view, of_view), options)
    loaded: Collection[str] = ()
    if options.network_weights:
        loaded = set(load_start(network, options.network_weights, options.dim_from_weights).loaded)
    if gradient_checkpointing:
        network.enable_gradient_checkpointing()
    groups, descriptions = _optimizer_groups(network, options, rates)
    _leave_out_untrained(network, groups, loaded)
    _say_what_is_trained(network, groups, descriptions, options, rates)
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


def _applies_to(part: str, network: Any, options: NetworkOptions, rates: OptimizerOptions) -> bool:
    """Whether a part of the model gets layers. A network of others gets none where the rate is 0, since its file would
    hold them; with our own, this is known layer by layer (_leave_out_untrained)."""
    parts = {rates_of_part.part: rates_of_part for rates_of_part in part_rates(options, rates)}
    if part not in parts or not parts[part].is_off:
        return part in parts
    may_be_needed = options.network_weights is not None or "network_reg_lrs" in _names_given(options)
    is_all_off = all(rates_of_part.is_off for rates_of_part in parts.values())
    return isinstance(network, LayerNetwork) or may_be_needed or is_all_off


def _leave_out_untrained(network: Any, groups: list[dict[str, Any]], loaded: Collection[str]) -> None:
    """What has the rate 0 would be in the file with changes of zero, and be computed at every step. What was loaded
    from a file is part of the network, and stays as it is."""
    if not isinstance(network, LayerNetwork):
        return
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    network.leave_out([
        layer
        for layer in network.layers()
        if layer.lora_name not in loaded and not any(id(parameter) in trained for parameter in layer.parameters())
    ])  # fmt: skip


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


def _say_what_is_trained(
    network: Any,
    groups: list[dict[str, Any]],
    descriptions: list[str],
    options: NetworkOptions,
    rates: OptimizerOptions,
) -> None:
    """The network in two lines, as far as the module tells; a rate for a part without layers is useless."""
    module = options.network_module
    logger.info("%s: %s", module, describe_network(network, groups))
    default_rate = None if ChosenOptimizer(rates).steps_relatively else rates.learning_rate
    logger.info("optimizer groups: %s", describe_groups(groups, descriptions, default_rate))
    if options.network_train_unet_only or options.network_train_text_encoder_only:
        return  # which rates have no effect then was said at the start
    of_parts = {
        "unet_loras": ("unet_lr", (rates.unet_lr,)),
        "text_encoder_loras": ("text_encoder_lr", rates.text_encoder_lr or ()),
    }
    layers = layers_by_part(network)
    for attribute, (option, given_rates) in of_parts.items():
        if any(given_rates) and layers[attribute] == []:
            logger.warning("--%s has no effect: %s adapts no layer in the %s", option, module, PARTS[attribute])


def _freeze_what_is_not_in(groups: list[dict[str, Any]], network: torch.nn.Module) -> None:
    """Parameters that no optimizer moves, as of a part whose rate is 0, need no gradients, nor count in their norm."""
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    for parameter in network.parameters():
        if id(parameter) not in trained:
            parameter.requires_grad_(False)


def _ignore(text_encoders: Any, unet: Any) -> None:
    """For networks that need not know when a batch begins."""


def _optimizer_groups(
    network: Any, options: NetworkOptions, rates: OptimizerOptions
) -> tuple[list[dict[str, Any]], list[str]]:
    result = _ask_for_groups(network, rates)
    groups, descriptions = result if isinstance(result, tuple) else (result, None)
    groups = [_plain_group(group) for group in groups]
    given_names = list(descriptions or ())
    names = [*given_names, *(f"group{number}" for number in range(len(given_names), len(groups)))]
    trained = [
        (group, name)
        for group, name in zip(groups, names, strict=False)
        if group["params"] and group.get("lr", rates.learning_rate)
    ]
    if not trained:
        raise UserError(f"nothing would be trained: {_why_nothing_is_trained(network, options)}")
    return [group for group, _ in trained], [name for _, name in trained]


def _why_nothing_is_trained(network: Any, options: NetworkOptions) -> str:
    """The options that may have left nothing, as far as the module tells."""
    parts = ("network_train_unet_only", "network_train_text_encoder_only")
    chosen = [f"--{part}" for part in parts if getattr(options, part)]
    arguments = [pair for pair in options.network_args or () if pair.partition("=")[0] in _LEAVING_OUT]
    if arguments:
        chosen.append(f"--network_args {' '.join(arguments)}")
    no_layer = (
        f"{options.network_module} adapts no layer of the model: check {' with '.join(chosen) or '--network_args'}"
    )
    no_rate = "every learning rate is 0: raise --learning_rate, --unet_lr or --text_encoder_lr" + (
        f", or check {chosen[-1]}" if arguments else ""
    )
    layers = layers_by_part(network).values()
    if any(layers):
        return no_rate
    return no_layer if all(of_part == [] for of_part in layers) else f"{no_layer}; or {no_rate}"


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
    given = (for_all, rates.unet_lr)
    with_default = (*given, rates.learning_rate)  # older modules know no default rate
    takes_default = _takes(network.prepare_optimizer_params, with_default)
    return network.prepare_optimizer_params(*(with_default if takes_default else given))


def _takes(method: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
    try:
        inspect.signature(method).bind(*arguments)
    except TypeError:
        return False
    return True
