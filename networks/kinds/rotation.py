"""What OFT and BOFT share: rotations from skew-symmetric matrices, a limit to them, and their tensors in files.

Orthogonal finetuning (Qiu et al. 2023, arXiv 2306.07280) keeps the angles between a layer's neurons, and so what the
base model knows, by rotating all of them together.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import nn

from library.errors import UserError
from library.wording import listed
from networks.kinds.construction import dropouts_of
from networks.kinds.output_change import OutputChangeLayer
from networks.layers.adapted_layer import Tensors
from networks.layers.dropouts import NO_DROPOUT, Dropouts
from networks.targeting.targets import LayerSize, Target

BLOCKS, RESCALE, CONSTRAINT = "oft_blocks", "rescale", "alpha"

_EXAMPLES = 3
"""Names of layers in a message."""


class RotationLayer(OutputChangeLayer):
    """Base of the kinds whose W' = R W, or with a factor for each output, rescale * R W; R is a rotation.

    In files, `alpha` is what the norm of Q may be for each output of the layer; 0 = without limit. Since programs do
    not agree on it, what is saved is limited already, and says 0.

    Attributes:
        oft_blocks: B (..., blocks, size, size), zero at the start; Q = B - B^T.
        rescale: (out, 1[, 1, 1]), one at the start.
        constraint: the limit for each output.
    """

    SUFFIXES: ClassVar = frozenset({BLOCKS, RESCALE, CONSTRAINT})
    EXACT: ClassVar = (RESCALE,)
    BLOCK_AXES: ClassVar[int]
    """Number of axes of oft_blocks: what tells the kinds' files apart."""

    oft_blocks: nn.Parameter

    def __init__(
        self,
        name: str,
        layer: nn.Linear | nn.Conv2d,
        shape: Sequence[int],
        constraint: float = 0.0,
        rescaled: bool = False,
        multiplier: float = 1.0,
        dropouts: Dropouts = NO_DROPOUT,
    ):
        super().__init__(name, layer, multiplier, dropouts)
        self.constraint = constraint
        self.oft_blocks = nn.Parameter(torch.zeros(*shape))
        self.register_parameter(RESCALE, nn.Parameter(_ones_for_outputs(layer)) if rescaled else None)

    @classmethod
    def build(cls, target: Target, size: LayerSize, arguments: Any, multiplier: float) -> Self:
        cls.check_sizes([(target, size)], arguments)
        return cls(
            target.name,
            target.layer,
            cls.shape_for(target, size, arguments),
            size.alpha if arguments.constraint is None else arguments.constraint,
            arguments.rescaled,
            multiplier,
            dropouts_of(arguments),
        )

    @classmethod
    def shape_for(cls, target: Target, size: LayerSize, arguments: Any) -> tuple[int, ...]:
        """Shape of oft_blocks; of sizes that were checked."""
        raise NotImplementedError(cls.__name__)

    @classmethod
    def recognises(cls, tensors: Tensors) -> bool:
        return BLOCKS in tensors and tensors[BLOCKS].ndim == cls.BLOCK_AXES

    @classmethod
    def from_tensors(cls, name: str, layer: nn.Module, tensors: Tensors, multiplier: float = 1.0) -> Self:
        shape = tensors[BLOCKS].shape
        if not cls.fits(shape, len(layer.weight)):
            raise UserError(
                f"{name}.{BLOCKS}: {'x'.join(map(str, shape))} does not fit a layer with {len(layer.weight)} outputs"
            )
        constraint = float(tensors.get(CONSTRAINT, 0))
        made = cls(name, layer, shape, constraint, RESCALE in tensors, multiplier)
        made.load_tensors(tensors)
        return made

    @classmethod
    def fits(cls, shape: Sequence[int], outputs: int) -> bool:
        """Whether oft_blocks of a shape rotate so many outputs."""
        return shape[-1] == shape[-2] and shape[-3] * shape[-2] == outputs

    def rotation_changes(self) -> torch.Tensor:
        """R - 1 of every block, in float32 at least, also under autocast."""
        return cayley_changes(self.oft_blocks, self._limit)

    def rotated_change(self, values: torch.Tensor, axis: int) -> torch.Tensor:
        """(R - 1) values; see `change_along`."""
        raise NotImplementedError(type(self).__name__)

    def change_along(self, values: torch.Tensor, axis: int) -> torch.Tensor:
        change = self.rotated_change(values, axis)
        if self.rescale is None:
            return change
        factors = self.rescale.view([-1 if place == axis % values.ndim else 1 for place in range(values.ndim)])
        return factors.to(values.dtype) * change + (factors - 1).to(values.dtype) * values

    @property
    def _limit(self) -> float:
        """What the norm of Q over all blocks may be; 0 = without limit."""
        return self.constraint * len(self.layer.weight)

    def file_tensors(self) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            limited = limit_skewness(self.oft_blocks.detach(), self._limit)
        return super().file_tensors() | {BLOCKS: limited, CONSTRAINT: torch.tensor(0.0)}

    def load_tensors(self, tensors: Tensors) -> None:
        """The file's own limit is applied to what it holds; from then on this layer's is in force."""
        own = {suffix: tensor for suffix, tensor in tensors.items() if suffix != CONSTRAINT}
        if BLOCKS in own:
            limit = float(tensors.get(CONSTRAINT, 0)) * len(self.layer.weight)
            own[BLOCKS] = limit_skewness(own[BLOCKS], limit)
        super().load_tensors(own)

    def continue_with(self, arguments: Any) -> None:
        """A limit that the arguments give takes the place of the file's; factors that it lacks begin at one."""
        super().continue_with(arguments)
        self.constraint = getattr(arguments, "constraint", None) or self.constraint
        if getattr(arguments, "rescaled", False) and self.rescale is None:
            self.rescale = nn.Parameter(_ones_for_outputs(self.layer))

    def delta_norm(self) -> torch.Tensor:
        """Of oft_blocks, as LyCORIS has it: a rotation that is scaled is none, but its Q may be."""
        return torch.linalg.vector_norm(self.oft_blocks)

    def shrink(self, ratio: torch.Tensor) -> None:
        self.oft_blocks.mul_(ratio)


def cayley_changes(blocks: torch.Tensor, limit: float) -> torch.Tensor:
    """R - 1 with R = (1 + Q)(1 - Q)^-1 for each block, Q = B - B^T (arXiv 2306.07280, section 3.3).

    It is computed as 2 (1 - Q)^-1 Q: subtracting 1 from R would leave little of a small rotation. 1 - Q is never
    singular, so that nothing needs to be checked, which would wait for the device.

    Args:
        blocks: (..., size, size).
        limit: what the norm of Q, over all blocks, may be; 0 = without limit.
    """
    with torch.autocast(blocks.device.type, enabled=False):
        blocks = limit_skewness(blocks, limit)
        blocks = blocks.to(torch.promote_types(blocks.dtype, torch.float32))
        skew = blocks - blocks.mT
        identity = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
        changes, _ = torch.linalg.solve_ex(identity - skew, 2 * skew)
        return changes


def limit_skewness(blocks: torch.Tensor, limit: float) -> torch.Tensor:
    """B, scaled down if the norm of B - B^T over all blocks exceeds a limit; 0 = without limit."""
    if limit == 0:
        return blocks
    exact = blocks.to(torch.promote_types(blocks.dtype, torch.float32))
    norm = torch.linalg.vector_norm(exact - exact.mT)
    return exact * (limit / norm.clamp(min=limit))


def ranks_of(sizes: Sequence[tuple[Target, LayerSize]]) -> str:
    return ", ".join(map(str, sorted({size.rank for _, size in sizes})))


def names_of(sizes: Sequence[tuple[Target, LayerSize]]) -> str:
    return listed([target.name for target, _ in sizes], _EXAMPLES)


def _ones_for_outputs(layer: nn.Module) -> torch.Tensor:
    weight: Any = layer.weight
    return torch.ones(len(weight), *[1] * (weight.ndim - 1))
