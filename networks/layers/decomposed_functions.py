"""Layers whose changed weight is multiplied by a factor per input or per output (DoRA: Liu et al. 2024, arXiv
2402.09353, equation 5)."""

from torch import Tensor

from networks.layers.computing_precision import computing_precision
from networks.layers.convolution_geometry import ConvolutionGeometry
from networks.layers.low_rank_functions import low_rank_convolution, low_rank_linear
from networks.layers.multiplied_values import grid_shift, multiplied_output


def decomposed_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    down: Tensor,
    up: Tensor,
    scale: float,
    factor: Tensor,
    per_input: bool,
    mask: Tensor | None = None,
) -> Tensor:
    """x (V * factor)^T + bias with V = W + scale * up @ down; see `low_rank_linear` for the other arguments.

    Args:
        factor: magnitude / norm of V; (1, in) if per_input, else (out, 1). In fp32; it gets its gradient.
    """
    shift = grid_shift(computing_precision(x))
    factor = factor.flatten() * shift
    if per_input:
        return low_rank_linear(x, weight, bias, down, up, scale, mask, factor, shift)
    return multiplied_output(low_rank_linear(x, weight, None, down, up, scale, mask, divisor=shift), factor, bias)


def decomposed_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    down: Tensor,
    up: Tensor,
    scale: float,
    factor: Tensor,
    per_input: bool,
    geometry: ConvolutionGeometry,
    mask: Tensor | None = None,
) -> Tensor:
    """The same for a convolution; factor is (1, in, 1, 1) if per_input, else (out, 1, 1, 1)."""
    shift = grid_shift(computing_precision(x))
    if per_input:
        factor = factor.flatten() * shift
        return low_rank_convolution(x, weight, bias, down, up, scale, geometry, mask, factor, shift)
    shifted = None if shift == 1 else factor.new_full((x.shape[1],), shift)  # a convolution's output has no factor
    output = low_rank_convolution(x, weight, None, down, up, scale, geometry, mask, shifted)
    return multiplied_output(output, factor.view(-1, 1, 1) / shift, None if bias is None else bias.view(-1, 1, 1))
