"""The check of a file that was just saved, against the network in memory that it was saved from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from library.wording import counted
from networks.kinds.catalogue import recognise, tensors_by_layer
from networks.network.loading import read_in_own_names
from networks.targeting.targets import find_all
from networks.verification.live_comparison import TOLERANCE, LayerComparison, compare_with_live, has_weight


@dataclass(frozen=True)
class Verification:
    compared: Sequence[LayerComparison]
    unknown: Sequence[str]
    """layers of the file whose kind is not known here"""
    unmatched: Sequence[str]
    """layers of the file that the model does not have"""
    missing: Sequence[str]
    """layers that a network changes and the file does not hold"""
    without_weight: Sequence[str] = ()
    """layers of the file that cannot be compared, since the network took the weight away from the model's layer"""

    @property
    def differing(self) -> list[LayerComparison]:
        return [layer for layer in self.compared if not layer.error <= TOLERANCE]

    def problems(self) -> list[str]:
        """What is wrong with the file, in words."""
        found = []
        if self.differing:
            worst = max(self.differing, key=lambda layer: math.inf if math.isnan(layer.error) else layer.error)
            how = f"off by {worst.error:.0%} of its change" if math.isfinite(worst.error) else "which gives no numbers"
            found.append(
                f"{len(self.differing)} of {counted(len(self.compared), 'layer')} do not compute what was trained; "
                f"worst: {worst.name}, {how}"
            )
        if self.missing:
            found.append(f"{counted(len(self.missing), 'layer')} of the network missing, such as {self.missing[0]}")
        if self.unmatched:
            found.append(
                f"{counted(len(self.unmatched), 'layer')} that the model does not have, such as {self.unmatched[0]}"
            )
        if self.unknown:
            found.append(
                f"{counted(len(self.unknown), 'layer')} of a kind that cannot be checked, such as {self.unknown[0]}"
            )
        return found

    def __str__(self) -> str:
        parts = []
        seen = [layer for layer in self.compared if not layer.is_lost]
        if seen or not (self.compared or self.without_weight):
            largest = max((layer.error for layer in seen), default=0.0)
            layers = counted(len(seen), "layer")
            parts.append(f"{layers} compute what was trained (to {max(largest, 0.0001):.2%} of a change)")
        if len(seen) < len(self.compared):
            layers = counted(len(self.compared) - len(seen), "layer")
            parts.append(f"{layers} changed too little to be told from rounding")
        if self.without_weight:
            layers = counted(len(self.without_weight), "layer")
            parts.append(f"{layers} not compared, since this network keeps the model's weights to itself")
        return "; ".join(parts)


def verify_saved_file(file: Path, text_encoder: nn.Module | list[nn.Module] | None, unet: nn.Module) -> Verification:
    """Reads the file again and compares it with what the model computes now, layer by layer.

    Args:
        text_encoder, unet: views, with the network applied, and not in training mode.

    Raises:
        UserError: the file cannot be read.
    """
    everything = {target.name: target for target in find_all(text_encoder, unet)}
    weights = read_in_own_names(file, everything)
    in_file = tensors_by_layer(weights)
    unknown = [name for name, tensors in in_file.items() if recognise(tensors) is None]
    return Verification(
        compared=list(compare_with_live(weights, everything.values())),
        unknown=unknown,
        unmatched=[name for name in in_file if name not in everything and name not in unknown],
        missing=[name for name, target in everything.items() if name not in in_file and _is_changed(target.layer)],
        without_weight=[name for name in in_file if name in everything and not has_weight(everything[name].layer)],
    )


def _is_changed(layer: nn.Module) -> bool:
    """Whether a network is hooked into a layer: its forward is that of something else."""
    return getattr(vars(layer).get("forward"), "__self__", layer) is not layer
