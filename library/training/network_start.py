"""--network_weights and --dim_from_weights: a network that begins where another one ended."""

import logging
from collections.abc import Mapping, Set
from types import ModuleType
from typing import Any

import torch

from library.errors import UserError
from library.metadata.training_metadata import NetworkSize
from library.models.adapter import NetworkViews
from library.training.third_party_start import load_third_party
from networks.contract import call_module
from networks.files.weights_file import not_finite
from networks.network.description import layers_of
from networks.network.layer_network import LayerNetwork
from networks.network.loading import LoadReport

logger = logging.getLogger(__name__)


def create_from_file(module: ModuleType, views: NetworkViews, file: str, arguments: Mapping[str, Any]) -> Any:
    """A network with the layers, ranks and alphas of a file.

    Raises:
        UserError: the file cannot be read, or nothing in it belongs to the model.
    """
    network, _ = call_module(
        module, "create_network_from_weights",
        1.0, file, views.vae, views.text_encoders_as_kohya(), views.unet, **arguments,
    )  # fmt: skip
    return network


def load_start(network: Any, file: str, is_made_from_it: bool) -> LoadReport:
    """Loads a file into a network that was applied, and says what matched.

    Args:
        is_made_from_it: the network has the ranks and alphas of the file already.

    Raises:
        UserError: nothing in the file belongs to the network, or it would not continue as the file ended.
    """
    if isinstance(network, LayerNetwork):
        report = network.load_weights(file)
    else:
        report = load_third_party(network, file, is_made_from_it)
    _say(report, file, is_made_from_it)
    require_finite(network.state_dict(), f"--network_weights '{file}'")
    return report


def _say(report: LoadReport, file: str, is_made_from_it: bool) -> None:
    if not report.not_in_network:
        logger.info("--network_weights '%s': %s", file, report)
        return
    remedy = (
        "the model has no such layers, or the options leave out that part of it"
        if is_made_from_it
        else "--dim_from_weights takes over all that the model has, as do the --network_args that the file was trained "
        "with (conv_dim for convolutions, preset, block_dims), unless the options leave out that part of the model"
    )
    logger.warning("--network_weights '%s': %s; %s", file, report, remedy)


def size_of(network: Any) -> NetworkSize:
    """Rank and alpha of a network whose layers have those of a file."""
    layers = layers_of(network)
    ranks = {int(layer.lora_dim) for layer in layers if hasattr(layer, "lora_dim")}
    alphas = {float(layer.alpha) for layer in layers if hasattr(layer, "alpha")}
    return NetworkSize(_one_of(ranks), _one_of(alphas))


def _one_of(values: Set[Any]) -> Any:
    return next(iter(values)) if len(values) == 1 else "Dynamic"


def require_finite(weights: Mapping[str, torch.Tensor], named: str) -> None:
    """
    Args:
        named: the option and its file.

    Raises:
        UserError: weights are NaN or infinite.
    """
    broken = not_finite(weights)
    if broken:
        raise UserError(f"{named}: {len(broken)} of its tensors hold NaN or infinity, such as {broken[0]}; use another")
