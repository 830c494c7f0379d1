"""--network_weights and --dim_from_weights: a network that begins where another one ended."""

import logging
from collections.abc import Mapping, Set
from types import ModuleType
from typing import Any

import torch
from torch import nn

from library.errors import UserError
from library.metadata.training_metadata import NetworkSize
from library.models.adapter import NetworkViews
from networks.contract import call_module
from networks.files.weights_file import read_network_file
from networks.kinds.catalogue import tensors_by_layer
from networks.network.loading import LoadReport, compare_layers

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


def load_start(network: Any, file: str, is_made_from_it: bool) -> None:
    """Loads a file into a network that was applied, and says what matched.

    Args:
        is_made_from_it: the network has the ranks and alphas of the file already.

    Raises:
        UserError: nothing in the file belongs to the network, or it would not continue as the file ended.
    """
    alphas = {} if is_made_from_it else _alphas(network)
    report = network.load_weights(file)
    if not isinstance(report, LoadReport):
        report = _third_party_report(network, file, alphas)
    logger.info("--network_weights '%s': %s", file, report)
    require_finite(dict(network.named_parameters()), f"--network_weights '{file}'")


def size_of(network: Any) -> NetworkSize:
    """Rank and alpha of a network whose layers have those of a file."""
    layers = [*getattr(network, "unet_loras", ()), *getattr(network, "text_encoder_loras", ())]
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
    broken = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(f"{named}: {len(broken)} of its tensors hold NaN or infinity, such as {broken[0]}; use another")


def _alphas(network: nn.Module) -> dict[str, float]:
    return {name: float(value) for name, value in network.state_dict().items() if name.endswith(".alpha")}


def _third_party_report(network: nn.Module, file: str, alphas: Mapping[str, float]) -> LoadReport:
    """What a module of others took over, which it need not say itself.

    Args:
        alphas: of the network before it was loaded, which must not be others than the file's.
    """
    report = compare_layers(tensors_by_layer(network.state_dict()), tensors_by_layer(read_network_file(file)))
    if not report.loaded:
        raise UserError(f"--network_weights '{file}': none of its layers belongs to this network")
    for name, alpha in _alphas(network).items():
        if alphas.get(name, alpha) != alpha:
            raise UserError(
                f"--network_weights '{file}' has the alpha {alpha:g} where --network_alpha or --network_args say "
                f"{alphas[name]:g} ({name}), which this module would go on to use; give them the file's alpha, or "
                "--dim_from_weights"
            )
    return report
