"""LoHa: changes that are products, number by number, of two low-rank matrices.

FedPara (Hyeon-Woo et al. 2021, arXiv 2108.06098, proposition 1; for convolutions proposition 3), as LyCORIS has it.
"""

from typing import Any, ClassVar, Self

import torch
from torch import nn

from library.errors import UserError
from networks.kinds.construction import alpha_of, dropouts_of
from networks.layers.adapted_layer import Tensors
from networks.layers.dropouts import NO_DROPOUT, Dropouts
from networks.layers.formed_layer import FormedLayer
from networks.layers.ranked_layer import MAGNITUDE, Decomposition, decomposition_of
from networks.targeting.targets import LayerSize, Target

FACTORS = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
CORES = ("hada_t1", "hada_t2")


class LoHaLayer(FormedLayer):
    """delta W = alpha / rank * (w1_a @ w1_b) * (w2_a @ w2_b); w2_a starts at zero.

    Shapes: w1_a and w2_a (out, rank), w1_b and w2_b (rank, in * kernel height * kernel width).

    In Tucker form, for kernels larger than 1x1, the two matrices are products of three factors each: cores t1 and t2
    (rank, rank, kernel height, kernel width), w1_a and w2_a (rank, out), w1_b and w2_b (rank, in).
    """

    SUFFIXES: ClassVar = frozenset({*FACTORS, *CORES, "alpha", MAGNITUDE})
    SCALED: ClassVar = ("hada_w1_a",)

    def __init__(
        self,
        name: str,
        layer: nn.Linear | nn.Conv2d,
        rank: int,
        alpha: float | None = None,
        multiplier: float = 1.0,
        dropouts: Dropouts = NO_DROPOUT,
        decomposition: Decomposition | None = None,
        has_scalar: bool = False,
        has_cores: bool = False,
    ):
        super().__init__(name, layer, rank, alpha, multiplier, dropouts, decomposition, has_scalar)
        outputs, inputs, *kernel = self.weight_shape
        self.has_cores = has_cores and self._could_have_cores
        for number in (1, 2):
            starts_at_zero = number == 2 and not has_scalar
            if self.has_cores:
                self._add(f"hada_t{number}", (rank, rank, *kernel), 0.1)
                self._add(f"hada_w{number}_a", (rank, outputs), 0.0 if starts_at_zero else 0.1)
                self._add(f"hada_w{number}_b", (rank, inputs), 1.0)
            else:
                self._add(f"hada_w{number}_a", (outputs, rank), 0.0 if starts_at_zero else 0.1)
                self._add(f"hada_w{number}_b", (rank, self.weight_shape[1:].numel()), 1.0)

    def _add(self, name: str, shape: tuple[int, ...], deviation: float) -> None:
        """A factor that starts normally distributed, with LyCORIS's deviations."""
        self.register_parameter(name, nn.Parameter(torch.randn(shape) * deviation))

    @property
    def _could_have_cores(self) -> bool:
        return self.weight_shape[2:].numel() > 1

    @classmethod
    def build(cls, target: Target, size: LayerSize, arguments: Any, multiplier: float) -> Self:
        return cls(
            target.name,
            target.layer,
            size.rank,
            alpha_of(size, arguments),
            multiplier,
            dropouts_of(arguments),
            Decomposition.of_arguments(arguments),
            arguments.use_scalar,
            arguments.use_tucker,
        )

    @classmethod
    def recognises(cls, tensors: Tensors) -> bool:
        return all(factor in tensors for factor in FACTORS)

    @classmethod
    def from_tensors(cls, name: str, layer: nn.Module, tensors: Tensors, multiplier: float = 1.0) -> Self:
        made = cls(
            name,
            layer,
            len(tensors["hada_w1_b"]),
            multiplier=multiplier,
            decomposition=decomposition_of(tensors),
            has_cores=CORES[0] in tensors,
        )
        made.load_tensors({"alpha": made.alpha} | dict(tensors))
        return made

    def continue_with(self, arguments: Any) -> None:
        """
        Raises:
            UserError: a split is asked for that the file does not have.
        """
        super().continue_with(arguments)
        if getattr(arguments, "use_tucker", False) and not self.has_cores and self._could_have_cores:
            raise UserError("--network_args use_tucker=True: the file's convolutions are not split so; leave it out")

    def additive_delta(self) -> torch.Tensor:
        first_a = self.scaled(self.hada_w1_a)
        if self.has_cores:
            first = tucker_product(self.hada_t1, first_a, self.hada_w1_b)
            return first * tucker_product(self.hada_t2, self.hada_w2_a, self.hada_w2_b)
        return ((first_a @ self.hada_w1_b) * (self.hada_w2_a @ self.hada_w2_b)).view(self.weight_shape)

    def plus_parameters(self) -> list[nn.Parameter]:
        return [self.hada_w2_a if self.scalar is None else self.scalar]

    def shrink(self, ratio: torch.Tensor) -> None:
        root = ratio.pow(1 / len(FACTORS))
        for factor in FACTORS:
            getattr(self, factor).mul_(root)


def tucker_product(core: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The weight (out, in, kernel height, kernel width) with a core (rank, rank, kernel height, kernel width), outputs
    a (rank, out) and inputs b (rank, in)."""
    return torch.einsum("pqhw,qi,po->oihw", core, b, a)
