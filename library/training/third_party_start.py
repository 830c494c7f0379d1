"""--network_weights in networks of others, which need not say what they took over, nor why they refuse a file."""

from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch import nn

from library.errors import UserError
from library.wording import listed
from networks.contract import describe_failure
from networks.files.weights_file import read_network_file
from networks.kinds.catalogue import tensors_by_layer
from networks.module_lookup import is_ours_or_beside
from networks.network.loading import LoadReport, compare_layers
from networks.network.misfits import LayerTensors, advice, misplaced_tensors

_ALPHA = "alpha"
_EXAMPLES = 2
_TAKEN_OVER = 0.5
"""How far a tensor may be from the file's after loading, relative to it. Half precision costs less, as do networks that
hold changed weights instead of changes; what a network starts with is further away."""


def load_third_party(network: Any, file: str, is_made_from_it: bool) -> LoadReport:
    """
    Args:
        is_made_from_it: the network has the ranks and alphas of the file already.

    Raises:
        UserError: the network refuses the file, or did not take over all that the file has for its layers.
    """
    alphas = {} if is_made_from_it else _alphas(network)
    try:
        said = network.load_weights(file)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a module of others does with a file that does not suit it
        _raise_for_failure(network, file, error)
    if isinstance(said, LoadReport):
        return said
    own, in_file = tensors_by_layer(network.state_dict()), tensors_by_layer(read_network_file(file))
    report = compare_layers(own, in_file)
    if not report.loaded:
        raise UserError(f"--network_weights '{file}': none of its layers belongs to this network")
    lost = misplaced_tensors(own, in_file) or _not_taken_over(own, in_file)
    if lost:
        raise UserError(
            f"--network_weights '{file}': {type(network).__module__} did not take over {len(lost)} of its tensors, "
            f"such as {listed(lost, _EXAMPLES)}" + ("" if is_made_from_it else f"; {advice(own, in_file)}")
        )
    if not is_made_from_it:
        _require_alphas(alphas, _alphas(network), file)
    return report


def _raise_for_failure(network: nn.Module, file: str, error: Exception) -> NoReturn:
    """What the file holds for other layers than the network's, if that is why; or else where it failed.

    Raises:
        UserError: for packages of others, and where the file's layers are others. Whoever wrote a module of his own
            needs the traceback of anything else, and gets it.
    """
    named = f"--network_weights '{file}'"
    own, in_file = tensors_by_layer(network.state_dict()), tensors_by_layer(read_network_file(file))
    misplaced = misplaced_tensors(own, in_file)
    if misplaced:
        raise UserError(
            f"{named} does not fit this network: {len(misplaced)} of its tensors are others, such as "
            f"{listed(misplaced, _EXAMPLES)}; {advice(own, in_file)}"
        ) from error
    module = type(network).__module__
    if is_ours_or_beside(module):
        raise error
    raise UserError(f"{named}: load_weights of {module} failed with {describe_failure(error)}") from error


def _not_taken_over(own: LayerTensors, in_file: LayerTensors) -> list[str]:
    """None if it is the smaller part: small changes are lost where a network adds them to weights in half precision."""
    near = {
        f"{name}.{suffix}": _is_near(own[name][suffix], tensor)
        for name in own
        for suffix, tensor in in_file.get(name, {}).items()
        if suffix != _ALPHA
    }
    lost = [name for name, is_near in near.items() if not is_near]
    return lost if 2 * len(lost) > len(near) else []


def _is_near(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    theirs = theirs.float()
    ours = ours.to(theirs.device, theirs.dtype).reshape(theirs.shape)
    return bool((ours - theirs).norm() <= _TAKEN_OVER * theirs.norm()) or not bool(theirs.isfinite().all())


def _alphas(network: nn.Module) -> dict[str, float]:
    return {name: float(value) for name, value in network.state_dict().items() if name.endswith(f".{_ALPHA}")}


def _require_alphas(before: Mapping[str, float], after: Mapping[str, float], file: str) -> None:
    """
    Raises:
        UserError: the network now has other alphas, but may go on with the scales that it had.
    """
    for name, alpha in after.items():
        if before.get(name, alpha) != alpha:
            raise UserError(
                f"--network_weights '{file}' has the alpha {alpha:g} where --network_alpha or --network_args say "
                f"{before[name]:g} ({name}), which this module would go on to use; give them the file's alpha, or "
                "--dim_from_weights"
            )
