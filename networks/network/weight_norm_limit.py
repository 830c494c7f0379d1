"""--scale_weight_norms: no layer's weight change may become larger than a limit.

Max-norm regularisation (Srebro and Shraibman 2005) as kohya's sd-scripts does it. Everything stays on the device:
nothing waits for a norm to become known.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from networks.layers.adapted_layer import AdaptedLayer


class NormReport(NamedTuple):
    """Scalars on the device."""

    layers_scaled: torch.Tensor
    mean: torch.Tensor
    """of all norms, after scaling"""
    maximum: torch.Tensor


@torch.no_grad()
def limit_norms(layers: Sequence[AdaptedLayer], limit: float) -> NormReport:
    """Scales down the changes whose Frobenius norm exceeds the limit."""
    norms = torch.stack([layer.delta_norm().float() for layer in layers])
    bounded = norms.clamp(min=limit / 2)  # so that nothing is divided by zero
    ratios = bounded.clamp(max=limit) / bounded
    for layer, ratio in zip(layers, ratios.unbind(), strict=True):
        layer.shrink(ratio)
    limited = norms * ratios
    return NormReport((ratios != 1).sum(), limited.mean(), limited.max())
