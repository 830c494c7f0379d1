"""GLoRA: a low-rank change of the weight itself and one beside it (Chavan et al. 2023, arXiv 2306.07967, equation 10,
without its changes of biases), as LyCORIS has it."""

from typing import Any, ClassVar, Self

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from library.errors import UserError
from networks.kinds.construction import alpha_of, dropouts_of
from networks.kinds.lora import Factor
from networks.layers.adapted_layer import Tensors
from networks.layers.computing_precision import computing_precision, in_computing_precision
from networks.layers.dropouts import NO_DROPOUT, Dropouts
from networks.layers.formed_layer import FormedLayer
from networks.layers.low_rank_functions import low_rank_convolution, low_rank_linear
from networks.layers.low_rank_starts import start_uniform
from networks.targeting.targets import LayerSize, Target

A1, A2, B1, B2 = "a1.weight", "a2.weight", "b1.weight", "b2.weight"
CORE = "bm.weight"


class GLoRALayer(FormedLayer):
    """delta W = alpha / rank * (W @ a1 @ a2 + b1 @ b2); a2 and b2 start at zero.

    Shapes: a1 (in, rank[, 1, 1]), a2 (rank, in[, 1, 1]), b1 (out, rank[, 1, 1]), b2 (rank, in[, kh, kw]).
    For kernels larger than 1x1, a1 @ a2 mixes the inputs of W, the same way at each place of the kernel.
    """

    SUFFIXES: ClassVar = frozenset({A1, A2, B1, B2, CORE, "alpha"})

    def __init__(
        self,
        name: str,
        layer: nn.Linear | nn.Conv2d,
        rank: int,
        alpha: float | None = None,
        multiplier: float = 1.0,
        dropouts: Dropouts = NO_DROPOUT,
    ):
        super().__init__(name, layer, rank, alpha, multiplier, dropouts)
        outputs, inputs, *kernel = self.weight_shape
        pixel = [1 for _ in kernel]
        self.a1 = Factor(inputs, rank, *pixel)
        self.a2 = Factor(rank, inputs, *pixel)
        self.b1 = Factor(outputs, rank, *pixel)
        self.b2 = Factor(rank, inputs, *kernel)
        start_uniform(self.a1.weight)
        start_uniform(self.b1.weight)
        nn.init.zeros_(self.a2.weight)
        nn.init.zeros_(self.b2.weight)

    @classmethod
    def build(cls, target: Target, size: LayerSize, arguments: Any, multiplier: float) -> Self:
        alpha = alpha_of(size, arguments)
        return cls(target.name, target.layer, size.rank, alpha, multiplier, dropouts_of(arguments))

    @classmethod
    def recognises(cls, tensors: Tensors) -> bool:
        return {A1, A2, B1, B2} <= tensors.keys()

    @classmethod
    def from_tensors(cls, name: str, layer: nn.Module, tensors: Tensors, multiplier: float = 1.0) -> Self:
        tensors = in_present_form(tensors, layer.weight.shape[1])
        made = cls(name, layer, len(tensors[A2]), multiplier=multiplier)
        made.load_tensors({"alpha": made.alpha} | dict(tensors))
        return made

    def load_tensors(self, tensors: Tensors) -> None:
        super().load_tensors(in_present_form(tensors, self.weight_shape[1]))

    def continue_with(self, arguments: Any) -> None:
        """
        Raises:
            UserError: a form is asked for that this kind does not have.
        """
        for name in ("dora_wd", "use_scalar", "use_tucker"):
            if getattr(arguments, name, False):
                raise UserError(
                    f"--network_args {name}=True: the file is a GLoRA, which has no such form; leave it out"
                )

    def additive_delta(self) -> torch.Tensor:
        a1, a2 = self.a1.weight.flatten(1), self.a2.weight.flatten(1)
        weight = self.base_weight().to(a1.device, a1.dtype)
        mixed = torch.einsum("oi...,ir,rj->oj...", weight, a1, self.scale * a2)
        beside = self.b1.weight.flatten(1) @ (self.scale * self.b2.weight).flatten(1)
        return mixed + beside.view(self.weight_shape)

    def change(self, x: torch.Tensor) -> torch.Tensor:
        if not self._is_low_rank:
            return super().change(x)
        x, down, up = in_computing_precision(x, self._down(), self.scale * self._up(x))
        geometry = self.geometry()
        if geometry is None:
            return functional.linear(functional.linear(x, down), up)
        return functional.conv2d(geometry.convolve(x, down[..., None, None]), up[..., None, None])

    def adapted_output(self, x: torch.Tensor) -> torch.Tensor:
        if not self._is_low_rank:
            return super().adapted_output(x)
        weight, bias, geometry = self.layer.weight, self.layer.bias, self.geometry()
        down, up, scale = self._down(), self._up(x), self.multiplier * self.scale
        if geometry is None:
            return low_rank_linear(x, weight, bias, down, up, scale)
        return low_rank_convolution(x, weight, bias, down[..., None, None], up[..., None, None], scale, geometry)

    def plus_parameters(self) -> list[nn.Parameter]:
        return [self.a2.weight, self.b2.weight]

    def shrink(self, ratio: torch.Tensor) -> None:
        root = ratio.sqrt()
        for part in (self.a1, self.a2, self.b1, self.b2):
            part.weight.mul_(root)

    @property
    def _is_low_rank(self) -> bool:
        """Whether the change is one product,  [W a1, b1] @ [a2; b2]:  not so for kernels larger than 1x1."""
        return self.weight_shape[2:].numel() == 1 and getattr(self.layer, "groups", 1) == 1

    def _down(self) -> torch.Tensor:
        """[a2; b2], (2 * rank, in)"""
        return torch.cat([self.a2.weight, self.b2.weight]).flatten(1)

    def _up(self, x: torch.Tensor) -> torch.Tensor:
        """[W a1, b1], (out, 2 * rank), in the precision that is computed in with x; without what rank dropout drops."""
        factors = self.a1.weight.flatten(1), self.b1.weight.flatten(1)
        # Autograd would keep the weight as it is multiplied: expanded from eight bits, or in another precision.
        up = checkpoint(self._up_from, computing_precision(x), *factors, use_reentrant=False, preserve_rng_state=False)
        kept = self.kept_outputs()
        return up if kept is None else up * kept.view(-1, 1)

    def _up_from(self, dtype: torch.dtype, a1: torch.Tensor, b1: torch.Tensor) -> torch.Tensor:
        weight = self.base_weight().flatten(1).to(dtype)
        return torch.cat([weight @ a1.to(dtype), b1.to(dtype)], 1)


def in_present_form(tensors: Tensors, inputs: int) -> dict[str, torch.Tensor]:
    """Tensors of one layer, those of old files exchanged and those with a Tucker core without it.

    LyCORIS once called a1 what is now a2, and b1 what is now b2; the shapes tell.
    The core bm (rank, rank, kernel height, kernel width) between b1 and b2 (rank, in, 1, 1) is multiplied into b2.

    Args:
        inputs: of the layer, over its groups.
    """
    present = dict(tensors)
    if {A1, A2, B1, B2} <= present.keys() and len(present[A1]) != inputs and present[A1].shape[1] == inputs:
        present |= {A1: tensors[A2], A2: tensors[A1], B1: tensors[B2], B2: tensors[B1]}
    core = present.pop(CORE, None)
    if core is not None:
        present[B2] = torch.einsum("pqhw,qi->pihw", core.float(), present[B2].flatten(1).float())
    return present
