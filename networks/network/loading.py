"""Which of a file's tensors fit a network, in words."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from library.wording import counted
from networks.files.key_dialects import to_own_names
from networks.files.weights_file import read_network_file, read_network_metadata

_EXAMPLES = 5


@dataclass(frozen=True)
class LoadReport:
    """What a network took over from a file."""

    loaded: Sequence[str]
    """names of layers"""
    not_in_file: Sequence[str]
    """layers of the network that stay as they were"""
    not_in_network: Sequence[str]
    """layers of the file that were not used"""

    def __str__(self) -> str:
        parts = [f"{counted(len(self.loaded), 'layer')} loaded"]
        if self.not_in_file:
            parts.append(f"{_layers(self.not_in_file)} not in the file, so that training starts them anew")
        if self.not_in_network:
            parts.append(f"{_layers(self.not_in_network)} of the file not used")
        return "; ".join(parts)


def read_in_own_names(file: str | Path, wanted: Collection[str] | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a file of any dialect by the names that we write, each layer with its alpha.

    Args:
        wanted: names of the network's layers; see to_own_names.

    Raises:
        UserError: the file cannot be read.
    """
    weights, _ = to_own_names(read_network_file(file), wanted, read_network_metadata(file))
    return weights


def compare_layers(own: Collection[str], in_file: Collection[str]) -> LoadReport:
    """
    Args:
        own: names of the network's layers.
        in_file: those of the file's.
    """
    return LoadReport(
        loaded=[name for name in own if name in in_file],
        not_in_file=[name for name in own if name not in in_file],
        not_in_network=[name for name in in_file if name not in own],
    )


def _layers(names: Sequence[str]) -> str:
    return f"{counted(len(names), 'layer')} (such as {', '.join(names[:_EXAMPLES])})"
