"""Kinds that change a layer by changing its outputs: rotating them (OFT, BOFT) or scaling them ((IA)^3).

W' = T W, where T mixes or scales outputs. T may then be applied to the weight or, for much less, to W x: neither
T W nor anything else of the weight's size has to be formed or kept for the backward pass.
"""

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from library.errors import UserError
from networks.layers.adapted_layer import AdaptedLayer
from networks.layers.computing_precision import HALF_PRECISIONS, in_computing_precision
from networks.layers.dropouts import NO_DROPOUT, Dropouts
from networks.layers.formed_changes import output_with_formed_change


class OutputChangeLayer(AdaptedLayer):
    """Base of the kinds that define `change_along`: T - 1, applied to anything that has the layer's outputs as an axis.

    The bias is no part of what is changed.
    """

    def __init__(self, name: str, layer: nn.Module, multiplier: float = 1.0, dropouts: Dropouts = NO_DROPOUT):
        super().__init__(name, layer, multiplier, dropouts)
        if getattr(layer, "groups", 1) != 1:
            raise UserError(
                f"{name}: this kind of network cannot train grouped convolutions; use exclude_patterns to leave it out"
            )

    def change_along(self, values: torch.Tensor, axis: int) -> torch.Tensor:
        """(T - 1) values, in the shape and precision of the values.

        Args:
            axis: that of the layer's outputs: 0 in weights, the last one or 1 in what linear layers and convolutions
                compute.
        """
        raise NotImplementedError(type(self).__name__)

    def delta_weight(self) -> torch.Tensor:
        weight = self.base_weight()
        precision = torch.promote_types(weight.dtype, next(self.parameters()).dtype)
        with torch.autocast(weight.device.type, enabled=False):
            return self.change_along(weight.to(torch.promote_types(precision, torch.float32)), 0)

    def change(self, x: torch.Tensor) -> torch.Tensor:
        return self.change_along(self.base_product(x), self._output_axis)

    def adapted_output(self, x: torch.Tensor) -> torch.Tensor:
        x, bias = in_computing_precision(x, self.layer.bias)
        weight = self.layer.weight
        if self.changes_weight(x):

            def form_change() -> torch.Tensor:
                return self.multiplier * self.change_along(weight.to(x.dtype), 0)

            return output_with_formed_change(x, form_change, list(self.parameters()), weight, bias, self.geometry())
        weight = weight.to(x.dtype)
        product = self._compute(x, weight, None)
        change = self.multiplier * self.change_along(product, self._output_axis)
        is_half = x.dtype in HALF_PRECISIONS
        total = _SumRoundedOnce.apply(product, change, x, weight) if is_half else product + change
        return total if bias is None else total + self._as_outputs(bias)

    def changes_weight(self, x: torch.Tensor) -> bool:
        """Whether T is applied to the weight and not to W x, for an input in the precision that is computed in.

        Convolutions in half precision have no other way to round the sum once.
        """
        return self._is_convolution and x.dtype in HALF_PRECISIONS

    def base_product(self, x: torch.Tensor) -> torch.Tensor:
        """W x, without bias, of the model's own weight whatever networks are applied to the layer."""
        forward = self._forward_without_networks()
        if forward is None:
            x, weight = in_computing_precision(x, self.base_weight())
            return self._compute(x, weight, None)
        output = forward(x)
        return output if self.layer.bias is None else output - self._as_outputs(self.layer.bias.to(output.dtype))

    def _forward_without_networks(self) -> Any:
        """The layer's own forward, which knows best how its weight is stored; None if it cannot be told apart."""
        forward = self._original_forward
        while isinstance(getattr(forward, "__self__", None), AdaptedLayer):
            forward = forward.__self__._original_forward
        return forward if getattr(forward, "__self__", None) is self.layer else None

    @property
    def _is_convolution(self) -> bool:
        return isinstance(self.layer, nn.Conv2d)

    @property
    def _output_axis(self) -> int:
        return 1 if self._is_convolution else -1

    def _as_outputs(self, bias: torch.Tensor) -> torch.Tensor:
        return bias.view(-1, 1, 1) if self._is_convolution else bias


class _SumRoundedOnce(torch.autograd.Function):
    """product + change, where product is the rounded x W^T: it is computed once more with the change in the
    accumulator, since a small change added to the rounded product would be rounded away.

    All in one half precision. The gradient flows through product and change, so that x W^T is derived once.
    """

    @staticmethod
    def forward(
        ctx: Any, product: torch.Tensor, change: torch.Tensor, x: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        outputs, inputs = weight.shape
        total = torch.addmm(change.reshape(-1, outputs), x.reshape(-1, inputs), weight.t())
        return total.view(product.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return gradient, gradient, None, None
