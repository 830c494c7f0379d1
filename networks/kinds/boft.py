"""BOFT: the outputs of a layer are rotated by a product of sparse rotations (Liu et al. 2023, arXiv 2311.06243)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch.utils.checkpoint import checkpoint

from library.errors import UserError
from networks.kinds.rotation import RotationLayer, names_of, ranks_of
from networks.targeting.targets import LayerSize, Target


class BOFTLayer(RotationLayer):
    """W' = R_m ... R_1 W, where each R_i rotates blocks of outputs that are ever further apart, as in a fast Fourier
    transform: together they reach every pair of outputs.

    Shape of oft_blocks: (stages, blocks, size, size), blocks * size = out; the number of blocks is a power of two.
    """

    BLOCK_AXES: ClassVar = 4

    @classmethod
    def shape_for(cls, target: Target, size: LayerSize, arguments: Any) -> tuple[int, ...]:
        """The largest blocks whose size is at most --network_dim."""
        outputs = len(target.layer.weight)
        length = max(length for length in _lengths(outputs) if length <= size.rank)
        blocks = outputs // length
        return blocks.bit_length(), blocks, length, length

    @classmethod
    def check_sizes(cls, sizes: Sequence[tuple[Target, LayerSize]], arguments: Any) -> None:
        problems = []
        odd = [(target, size) for target, size in sizes if len(target.layer.weight) % 2]
        if odd:
            problems.append(
                f"networks.boft: an odd number of outputs cannot be rotated ({names_of(odd)}); leave such layers out "
                "with --network_args exclude_patterns"
            )
        least = {
            target.name: _lengths(len(target.layer.weight))[0]
            for target, _ in sizes
            if len(target.layer.weight) % 2 == 0
        }
        unfit = [(target, size) for target, size in sizes if size.rank < least.get(target.name, 0)]
        if unfit:
            problems.append(
                f"--network_dim {ranks_of(unfit)}: smaller than the smallest blocks of {names_of(unfit)}; give at "
                f"least {max(least.values())}, which is enough for all layers"
            )
        if problems:
            raise UserError(problems)

    @classmethod
    def fits(cls, shape: Sequence[int], outputs: int) -> bool:
        stages, blocks, length, _ = shape
        is_butterfly = length % 2 == 0 and _is_power_of_two(blocks) and stages <= blocks.bit_length()
        return is_butterfly and super().fits(shape, outputs)

    def changes_weight(self, x: torch.Tensor) -> bool:
        """So many stages cost more than a product of matrices: they are applied to what is smaller."""
        outputs = x.numel() // x.shape[self._output_axis]
        return super().changes_weight(x) or outputs > self.layer.weight[0].numel()

    def rotated_change(self, values: torch.Tensor, axis: int) -> torch.Tensor:
        """Every stage keeps its input for the backward pass; that is avoided by computing them again."""
        stages = self.rotation_changes().to(values.dtype)
        outputs_last = values.movedim(axis, -1)
        change = checkpoint(butterfly_change, outputs_last, stages, use_reentrant=False, preserve_rng_state=False)
        return change.movedim(-1, axis)


def butterfly_change(values: torch.Tensor, stages: torch.Tensor) -> torch.Tensor:
    """(R_m ... R_1 - 1) values, along the last axis.

    The changes of the stages are summed up: subtracting the values from what was rotated would leave little of small
    rotations.

    Args:
        values: (..., out).
        stages: R - 1 of all blocks, (stages, blocks, size, size).
    """
    length = stages.shape[-1]
    total = torch.zeros_like(values)
    for number, blocks in enumerate(stages):
        distance = 2**number * length // 2
        paired = (values + total).unflatten(-1, (-1, 2, distance)).transpose(-2, -1)
        change = torch.einsum("kij,...kj->...ki", blocks, paired.flatten(-3).unflatten(-1, (-1, length)))
        total = total + change.flatten(-2).unflatten(-1, (-1, distance, 2)).transpose(-2, -1).flatten(-3)
    return total


def _lengths(outputs: int) -> list[int]:
    """The sizes that blocks may have, from the smallest; none for an odd number of outputs."""
    even_divisors = (length for length in range(2, outputs + 1, 2) if outputs % length == 0)
    return [length for length in even_divisors if _is_power_of_two(outputs // length)]


def _is_power_of_two(number: int) -> bool:
    return number.bit_count() == 1
