"""Saving a network through its own save_weights, whoever wrote that."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from library.atomic_files import atomic_path
from networks.files.weights_file import require_finite


def save_network(network: Any, path: Path, dtype: torch.dtype | None, metadata: Mapping[str, str]) -> None:
    """Writes the file, complete or not at all.

    Args:
        network: meets networks.contract.Network. Its own metadata are a copy, to which it may add.

    Raises:
        NonFiniteWeightsError: a weight is not finite, or would not be in this precision.
        OSError: the file cannot be written.
    """
    require_finite(dict(network.named_parameters()), dtype)
    with atomic_path(path) as temporary:
        try:
            network.save_weights(str(temporary), dtype, dict(metadata))
        except (SafetensorError, RuntimeError) as error:
            raise OSError(str(error)) from None  # how files that find no room show
        if temporary.stat().st_size == 0:
            raise OSError("the network's save_weights wrote nothing into the file that it was given")
