"""OFT: the outputs of a layer are rotated in blocks (Qiu et al. 2023, arXiv 2306.07280)."""

from typing import Any, ClassVar

import torch

from library.errors import UserError
from networks.kinds.rotation import RotationLayer
from networks.targeting.block_settings import LayerSize
from networks.targeting.targets import Target


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
        divisors = [number for number in range(1, outputs + 1) if outputs % number == 0]
        if arguments.network_dim_is == "block_size":
            length = max(divisor for divisor in divisors if divisor <= size.rank)
            return outputs // length, length, length
        if size.rank not in divisors:
            raise UserError(
                f"--network_dim {size.rank}: a layer's {outputs} outputs cannot be divided into {size.rank} blocks, "
                f"but into {', '.join(map(str, divisors))}; or give --network_args network_dim_is=block_size"
            )
        return size.rank, outputs // size.rank, outputs // size.rank

    def rotated_change(self, values: torch.Tensor, axis: int) -> torch.Tensor:
        changes = self.rotation_changes().to(values.dtype)
        blocked = values.movedim(axis, -1).unflatten(-1, changes.shape[:2])
        return torch.einsum("...kn,knm->...km", blocked, changes).flatten(-2).movedim(-1, axis)
