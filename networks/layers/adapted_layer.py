"""One layer of the model with its trainable change: what every kind of network is made of.

A kind need only define `delta_weight`; everything else follows from it. What it can do faster or with less memory,
it overrides.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import nn
from torch.nn import functional

from library.errors import UserError
from networks.layers.computing_precision import HALF_PRECISIONS
from networks.layers.convolution_geometry import ConvolutionGeometry
from networks.layers.dropouts import NO_DROPOUT, Dropouts, draws_module_dropout
from networks.targeting.targets import LayerSize, Target

Tensors = Mapping[str, torch.Tensor]
"""Of one layer, by the second part of their names in a file: "lora_down.weight", "alpha"."""


class AdaptedLayer(nn.Module):
    """Base of all kinds: hooks into a layer of the model and computes with the changed weight.

    Once applied, the layer computes with  W + multiplier * delta_weight().  The layer's own weights are untouched.
    Parameters and buffers are named as the tensors in files, so that the state dict is a file's content; kinds for
    which it is not override `file_tensors` and `load_tensors`.

    Attributes:
        lora_name: what the tensors' names in a file begin with.
        multiplier: strength; 1 in training.
    """

    SUFFIXES: ClassVar[frozenset[str]]
    """Names of all tensors that a file may hold for a layer of this kind."""
    EXACT: ClassVar[tuple[str, ...]] = ()
    """Of these, those that stay in fp32 where the network is converted to half precision: they scale the whole weight
    or the whole change, which rounding them would change from what the file or the base model has."""

    def __init__(self, name: str, layer: nn.Module, multiplier: float = 1.0, dropouts: Dropouts = NO_DROPOUT):
        super().__init__()
        self.lora_name = name
        self.multiplier = multiplier
        self.dropouts = dropouts
        self._layer = (layer,)  # in a tuple: the layer belongs to the model, not to the network
        self._original_forward: Any = None
        self._reads_weight = False

    @classmethod
    def check_sizes(cls, sizes: Sequence[tuple[Target, LayerSize]], arguments: Any) -> None:
        """For kinds that cannot have any rank: whether all layers can be built, and with which rank they could.

        Raises:
            UserError: some cannot; with one problem for all of them.
        """

    @classmethod
    def build(cls, target: Target, size: LayerSize, arguments: Any, multiplier: float) -> Self:
        """A new layer that changes nothing yet.

        Args:
            size: rank and alpha, as --network_dim, conv_dim, block_dims and the like have it for this layer.
            arguments: the kind's arguments (networks.arguments).

        Raises:
            UserError: the kind cannot change this layer in this size.
        """
        raise NotImplementedError(cls.__name__)

    @classmethod
    def recognises(cls, tensors: Tensors) -> bool:
        """Whether a file's tensors of one layer are of this kind."""
        raise NotImplementedError(cls.__name__)

    @classmethod
    def from_tensors(cls, name: str, layer: nn.Module, tensors: Tensors, multiplier: float = 1.0) -> Self:
        """A layer of this kind in the shape of a file's tensors, holding them.

        Raises:
            UserError: the tensors do not fit the layer.
        """
        raise NotImplementedError(cls.__name__)

    def delta_weight(self) -> torch.Tensor:
        """The change of the layer's weight at strength 1, in the weight's shape: the definition of the kind."""
        raise NotImplementedError(type(self).__name__)

    def delta_bias(self) -> torch.Tensor | None:
        """The change of the layer's bias at strength 1, or None."""
        return None

    def change(self, x: torch.Tensor) -> torch.Tensor:
        """What the change adds to the layer's output at strength 1."""
        bias = self.delta_bias()
        return self._compute(x, self.delta_weight().to(x.dtype), None if bias is None else bias.to(x.dtype))

    def reference_output(self, x: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
        """The layer's output with the change merged into its weight, in x's precision: what every other way of
        computing it must agree with. Neither this layer's nor any other network's hook takes part."""
        weight = self.base_weight().to(x.dtype) + strength * self.delta_weight().to(x.dtype)
        bias, delta_bias = self.layer.bias, self.delta_bias()
        if delta_bias is not None:
            bias = strength * delta_bias + (0 if bias is None else bias)
        return self._compute(x, weight, None if bias is None else bias.to(x.dtype))

    def _compute(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        geometry = self.geometry()
        return functional.linear(x, weight, bias) if geometry is None else geometry.convolve(x, weight, bias)

    def geometry(self) -> ConvolutionGeometry | None:
        """That of a convolution; None for linear layers."""
        return ConvolutionGeometry.of(self.layer) if isinstance(self.layer, nn.Conv2d) else None

    def adapted_output(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's output with the change, computed from the layer's weight, which is there as such.

        Kinds override it: with what keeps less for the backward pass than the changed weight, and so that in half
        precision the sum is rounded once, and a small change survives it.
        """
        return self.reference_output(x, self.multiplier)

    @property
    def layer(self) -> Any:
        return self._layer[0]

    def base_weight(self) -> torch.Tensor:
        """The weight of the model's layer; expanded if it is stored in eight bits."""
        expanded = getattr(self.layer, "expanded_weight", None)
        return expanded() if expanded is not None else self.layer.weight.detach()

    def _apply(self, function: Any, recurse: bool = True) -> Self:
        """Behind `to`, `half`, `bfloat16` and the like."""
        exact = {name: tensor.data for name in self.EXACT if (tensor := getattr(self, name, None)) is not None}
        super()._apply(function, recurse)
        for name, values in exact.items():
            tensor = getattr(self, name)
            if tensor.dtype in HALF_PRECISIONS:
                tensor.data = values.to(tensor.device)
        return self

    def hook_into_layer(self) -> None:
        """From now on the layer computes with the change. A network applied earlier stays in effect: both add up."""
        self._reads_weight = _has_stock_forward(self.layer)
        self._original_forward = self.layer.forward
        self.layer.forward = self.forward

    def unhook_from_layer(self) -> None:
        """The layer computes as before `hook_into_layer`, unless another network was applied since."""
        if self._reads_weight:
            del self.layer.forward
        else:
            self.layer.forward = self._original_forward

    def forward(self, x: torch.Tensor, *arguments: Any, **keywords: Any) -> torch.Tensor:
        if self.multiplier == 0 or (self.training and draws_module_dropout(self.dropouts.module)):
            return self._original_forward(x, *arguments, **keywords)
        if self._reads_weight:
            return self.adapted_output(x)
        output = self._original_forward(x, *arguments, **keywords)
        return output + self.multiplier * self.change(x)

    @torch.no_grad()
    def merge(self, dtype: torch.dtype | None = None) -> None:
        """Adds the change to the layer's weight for good. The sum is formed in float32."""
        weight = self.layer.weight
        merged = self.base_weight().float() + self.multiplier * self.delta_weight().to(weight.device, torch.float32)
        weight.data = merged.to(dtype or weight.dtype)
        delta_bias = self.delta_bias()
        if delta_bias is not None:
            self._merge_bias(self.multiplier * delta_bias.to(weight.device, torch.float32), dtype or weight.dtype)

    def _merge_bias(self, change: torch.Tensor, dtype: torch.dtype) -> None:
        if self.layer.bias is None:
            self.layer.bias = nn.Parameter(change.to(dtype), requires_grad=False)
        else:
            self.layer.bias.data = (self.layer.bias.float() + change).to(dtype)

    def file_tensors(self) -> dict[str, torch.Tensor]:
        """What a file holds for this layer, by suffix."""
        return dict(self.state_dict())

    def load_tensors(self, tensors: Tensors) -> None:
        """Takes over a file's tensors of this layer.

        Raises:
            UserError: a tensor is missing, has another shape, or belongs to no part of this kind.
        """
        own = self.state_dict()
        problems = [f"{self.lora_name}.{suffix} is missing" for suffix in own.keys() - tensors.keys()]
        for suffix, tensor in tensors.items():
            if suffix not in own:
                problems.append(f"{self.lora_name}.{suffix} has no place in this network")
            elif own[suffix].shape != tensor.shape:
                problems.append(f"{self.lora_name}.{suffix}: {_shape(tensor)} instead of {_shape(own[suffix])}")
        if problems:
            raise UserError(problems)
        self.load_state_dict(dict(tensors))

    def continue_with(self, arguments: Any) -> None:
        """Takes from the arguments what no file says about how this kind is trained; for layers made from a file.

        Raises:
            UserError: the file's layer cannot be trained so.
        """

    def trained_parameters(self) -> list[nn.Parameter]:
        """All that may be trained; a kind that keeps a factor fixed leaves it out."""
        return list(self.parameters())

    def plus_parameters(self) -> list[nn.Parameter]:
        """Those that LoRA+ trains at a higher rate (Hayou et al. 2024, arXiv 2402.12354): what starts at zero."""
        return []

    def delta_norm(self) -> torch.Tensor:
        """Frobenius norm of the weight change that `shrink` scales; a scalar on the device."""
        return torch.linalg.vector_norm(self.delta_weight())

    def shrink(self, ratio: torch.Tensor) -> None:
        """Scales the weight change by a factor, a scalar on the device: --scale_weight_norms limits every kind."""
        raise NotImplementedError(type(self).__name__)


def _has_stock_forward(layer: nn.Module) -> bool:
    """Whether the layer computes with its weight as PyTorch's class does, so that the weight may be read instead."""
    return type(layer) in (nn.Linear, nn.Conv2d) and "forward" not in vars(layer)


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"
