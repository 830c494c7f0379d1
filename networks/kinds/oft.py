"""OFT: the outputs of a layer are rotated in blocks (Qiu et al. 2023, arXiv 2306.07280)."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from library.errors import UserError
from networks.kinds.rotation import RotationLayer, names_of, ranks_of
from networks.targeting.targets import LayerSize, Target


class OFTLayer(RotationLayer):
    """W' = R^T W with R block-diagonal: neighbouring outputs are rotated among themselves.

    That it is R^T and not R is what the files mean, those of kohya's tool as well as those of LyCORIS.
    Shape of oft_blocks: (blocks, size, size), blocks * size = out.
    """

    BLOCK_AXES: ClassVar = 3

    @classmethod
    def shape_for(cls, target: Target, size: LayerSize, arguments: Any) -> tuple[int, ...]:
        """--network_dim is the number of blocks, or the most that their size may be, as the arguments have it."""
        outputs = len(target.layer.weight)
        if arguments.network_dim_is == "block_size":
            length = max(divisor for divisor in _divisors(outputs) if divisor <= size.rank)
            return outputs // length, length, length
        return size.rank, outputs // size.rank, outputs // size.rank

    @classmethod
    def check_sizes(cls, sizes: Sequence[tuple[Target, LayerSize]], arguments: Any) -> None:
        if arguments.network_dim_is == "block_size":
            return
        unfit = [(target, size) for target, size in sizes if len(target.layer.weight) % size.rank]
        if unfit:
            common = _divisors(math.gcd(*(len(target.layer.weight) for target, _ in sizes)))
            raise UserError(
                f"--network_dim {ranks_of(unfit)}: the outputs of {names_of(unfit)} cannot be divided into so many "
                f"blocks; what divides those of all layers: {', '.join(map(str, common))}; or give --network_args "
                "network_dim_is=block_size"
            )

    def rotated_change(self, values: torch.Tensor, axis: int) -> torch.Tensor:
        changes = self.rotation_changes().to(values.dtype)
        blocked = values.movedim(axis, -1).unflatten(-1, changes.shape[:2])
        return torch.einsum("...kn,knm->...km", blocked, changes).flatten(-2).movedim(-1, axis)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
