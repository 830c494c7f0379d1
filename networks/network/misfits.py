"""What to change where a file's layers are not those of the network that shall take them over."""

from collections.abc import Mapping

import torch

from networks.files.client_support import forms_in
from networks.kinds.file_ranks import rank_in_file
from networks.layers.adapted_layer import Tensors

LayerTensors = Mapping[str, Tensors]
"""Layer name -> suffix -> tensor."""


def misplaced_tensors(own: LayerTensors, in_file: LayerTensors) -> list[str]:
    """Full names of the file's tensors that have no place in the network's layer of that name, or one of another shape.

    Linear layers and convolutions of one pixel are taken for each other.
    """
    return [
        f"{name}.{suffix}"
        for name in own
        for suffix, tensor in in_file.get(name, {}).items()
        if suffix not in own[name] or _essential_shape(own[name][suffix]) != _essential_shape(tensor)
    ]


def advice(own: LayerTensors, in_file: LayerTensors) -> str:
    """The options by which the network would have the layers of the file."""
    pairs = [(own[name], in_file[name]) for name in own if name in in_file]
    by_rank = _options_of_ranks([(rank_in_file(ours), rank_in_file(theirs), theirs) for ours, theirs in pairs])
    if by_rank is not None:
        return f"{by_rank}, or --dim_from_weights"
    ours, theirs = (_kinds(layers) for layers in (own, in_file))
    if theirs and theirs != ours:
        return (
            f"the file's layers are {theirs}, the network's are {ours or 'others'}: give the --network_module and "
            "--network_args that make such layers as the file holds, or --dim_from_weights"
        )
    return "give the arguments that it was trained with, or --dim_from_weights"


def is_spatial(tensors: Tensors) -> bool:
    """Whether they are of a convolution of more than one pixel; not every kind's tensors tell."""
    return any(tensor.ndim == 4 and tensor.shape[2:].numel() > 1 for tensor in tensors.values())


def _options_of_ranks(pairs: list[tuple[int | None, int | None, Tensors]]) -> str | None:
    """None if the ranks are not what differs.

    Args:
        pairs: for each layer its rank in the network, that in the file, and its tensors in the file.
    """
    if any(ours is None or theirs is None for ours, theirs, _ in pairs):
        return None
    ranks: dict[bool, set[int]] = {}
    fitting = {is_spatial(tensors) for ours, theirs, tensors in pairs if ours == theirs}
    for ours, theirs, tensors in pairs:
        if theirs is not None and ours != theirs:
            ranks.setdefault(is_spatial(tensors), set()).add(theirs)
    if not ranks:
        return None
    if fitting & ranks.keys() or any(len(found) > 1 for found in ranks.values()):
        return "some of its layers have other ranks: give the conv_dim, block_dims or the like that it was trained with"
    options = {False: "its rank is {0}: --network_dim {0}", True: "the rank of its convolutions is {0}: conv_dim={0}"}
    return "; ".join(options[spatial].format(*found) for spatial, found in sorted(ranks.items()))


def _kinds(layers: LayerTensors) -> str:
    forms = forms_in({f"{name}.{suffix}": tensor for name in layers for suffix, tensor in layers[name].items()})
    return " and ".join(form.value for form in forms)


def _essential_shape(tensor: torch.Tensor) -> list[int]:
    return [length for length in tensor.shape if length != 1]
