"""--base_weights: network files that become part of the base model before anything is trained on top of it."""

import logging
from itertools import zip_longest
from types import ModuleType

import torch
from tqdm import tqdm

from library.errors import UserError
from library.models.adapter import ModelAdapter, NetworkViews
from library.options.groups import NetworkOptions
from library.training.network_start import require_finite
from networks.arguments import MODULES
from networks.contract import call_module
from networks.kinds.catalogue import recognise, tensors_by_layer
from networks.lora import create_network_from_weights
from networks.network.description import layers_of
from networks.network.loading import compare_layers, read_in_own_names

logger = logging.getLogger(__name__)

Weights = dict[str, torch.Tensor]


def merge_base_weights(
    model: ModelAdapter, options: NetworkOptions, module: ModuleType, device: torch.device, show_progress: bool
) -> None:
    """Merges the files one after another. Must come before weights are stored in eight bits, and before networks hook
    into the model.

    Args:
        module: what --network_module names; it is asked for files whose kind is none of ours.
        device: where the changes are computed.

    Raises:
        UserError: a file cannot be read, or nothing in it belongs to the model.
    """
    for file, multiplier in zip_longest(options.base_weights or (), options.base_weights_multiplier or (), fillvalue=1):
        weights = read_in_own_names(str(file))
        require_finite(weights, f"--base_weights '{file}'")
        if _is_known(weights) or module.__name__ in MODULES:
            _merge_known(model.views(), str(file), weights, float(multiplier), device, show_progress)
        else:
            _merge_by_module(model.views(), str(file), float(multiplier), module, device)


def _is_known(weights: Weights) -> bool:
    return any(recognise(tensors) is not None for tensors in tensors_by_layer(weights).values())


def _merge_known(
    views: NetworkViews, file: str, weights: Weights, multiplier: float, device: torch.device, show_progress: bool
) -> None:
    network, in_own_names = create_network_from_weights(
        multiplier, file, views.vae, views.text_encoders_as_kohya(), views.unet, weights
    )
    layers = network.layers()
    report = compare_layers([layer.lora_name for layer in layers], tensors_by_layer(in_own_names))
    logger.info("--base_weights '%s' at strength %g: %s", file, multiplier, report)
    for layer in tqdm(layers, desc="merging", unit="layer", leave=False, disable=not show_progress):
        layer.to(device).merge()


def _merge_by_module(
    views: NetworkViews, file: str, multiplier: float, module: ModuleType, device: torch.device
) -> None:
    """
    Raises:
        UserError: the module finds no layer of the model in the file.
    """
    text_encoders = views.text_encoders_as_kohya()
    name = "create_network_from_weights"
    network, weights = call_module(
        module, name, multiplier, file, views.vae, text_encoders, views.unet, for_inference=True
    )
    if not layers_of(network) and not any(True for _ in network.parameters()):
        raise UserError(f"--base_weights '{file}': neither this trainer nor {module.__name__} finds a layer in it")
    dtype = next(views.unet.parameters()).dtype
    network.merge_to(text_encoders, views.unet, weights, dtype, device)
    logger.info("--base_weights '%s' at strength %g: merged by %s", file, multiplier, module.__name__)
