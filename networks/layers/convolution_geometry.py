"""How a convolution walks over its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class ConvolutionGeometry:
    """Stride, padding, dilation (each height, width; in pixels) and groups of a two-dimensional convolution.

    `border` is what lies beyond the edges: "zeros", or the mode of `torch.nn.functional.pad`.
    """

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    border: str = "zeros"

    @classmethod
    def of(cls, layer: nn.Conv2d) -> ConvolutionGeometry:
        """The geometry of a layer, read anew: some programs change the padding of a model's layers ("seamless tiling").

        Raises:
            ValueError: the padding is "same" and its two sides differ (an even kernel).
        """
        left, right, top, bottom = layer._reversed_padding_repeated_twice
        if left != right or top != bottom:
            raise ValueError(f"padding must be the same on both sides, and is {(left, right)} and {(top, bottom)}")
        return cls(layer.stride, (top, left), layer.dilation, layer.groups, layer.padding_mode)  # type: ignore[arg-type]

    def convolve(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """x (batch, in, height, width) with weight (out, in / groups, kernel height, kernel width)."""
        x, geometry = self.bordered(x)
        return functional.conv2d(x, weight, bias, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)

    def output_size(self, size: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        """(height, width) of what comes of an input of some size; kernel (height, width)."""
        lengths = zip(size, kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple(
            (length + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
            for length, taps, stride, padding, dilation in lengths
        )

    def aligns_with_input(self, kernel: tuple[int, ...]) -> bool:
        """Whether one tap of the kernel (height, width) reads, for each output, the input pixel at output * stride."""
        if self.border != "zeros":
            return True  # `bordered` leaves no padding: the first tap
        return all(
            padding % dilation == 0 and 2 * padding <= (size - 1) * dilation
            for size, padding, dilation in zip(kernel, self.padding, self.dilation, strict=True)
        )

    @property
    def aligned_tap(self) -> tuple[int, int]:
        """That tap's place in the kernel: the centre of a 3x3 kernel with a padding of 1."""
        return self.padding[0] // self.dilation[0], self.padding[1] // self.dilation[1]

    def bordered(self, x: torch.Tensor) -> tuple[torch.Tensor, ConvolutionGeometry]:
        """x with a border that is not of zeros already on it, and the geometry that is left to apply."""
        if self.border == "zeros":
            return x, self
        vertical, horizontal = self.padding
        x = functional.pad(x, (horizontal, horizontal, vertical, vertical), mode=self.border)
        return x, ConvolutionGeometry(self.stride, (0, 0), self.dilation, self.groups)


def convolution_gradients(
    gradient: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    geometry: ConvolutionGeometry,
    needs_x: bool,
    needs_weight: bool,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Those of a convolution's input and weight, given that of its output; None for what is not needed.

    The geometry's border must be of zeros.
    """
    if not (needs_x or needs_weight):
        return None, None
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        None,
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        False,
        [0, 0],
        geometry.groups,
        [needs_x, needs_weight, False],
    )
    return of_x, of_weight
