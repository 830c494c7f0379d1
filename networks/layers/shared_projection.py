"""One projection for layers that get the same input: queries, keys and values of self-attention, keys and values of
cross-attention."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import TensorWeakRef

from networks.layers.computing_precision import in_computing_precision
from networks.layers.low_rank_functions import rows_of


class SharedProjection:
    """x down^T of several layers in one product, for as long as they are called with the same x.

    The first member that is asked computes the projections of all, and each of the others takes its own, once. One that
    is called with another x, or after x or a parameter changed, becomes the first.

    What is shared are values without a graph: `low_rank_linear` takes them beside x and `down`, and differentiates with
    respect to these. Whether a member found its projection or computed it, whether a checkpointed block is run for the
    first or the second time, or whether some member is left out, makes no difference to the graph; and what waits here,
    `rank` numbers a row until the next x comes, keeps no activation alive.

    Under autocast, x in half precision is shared as well, for as long as a member keeps it for its backward pass:
    otherwise each would keep one of its own, of the fp32 values that autocast has normalisations return.

    Args:
        members: `down` of each layer, (rank_i, in); the parameters themselves.
    """

    def __init__(self, members: Sequence[Tensor]):
        self.members = tuple(members)
        self._input: TensorWeakRef | None = None
        self._converted: TensorWeakRef | None = None
        self._versions: tuple[Any, ...] = ()
        self._waiting: dict[int, Tensor] = {}

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.members,)  # a copy has nothing waiting

    @torch.no_grad()
    def project(self, member_index: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """The values of x (..., in) and x down_i^T, (..., rank_i), in the precision in which the layer computes."""
        if torch.is_inference_mode_enabled() or x.is_inference():  # x has no version by which to see that it changed
            (converted,) = in_computing_precision(x)
            return converted, _project(converted, [self.members[member_index]])[0]
        versions = self._versions_with(x)
        is_known = self._input is not None and self._input() is x and self._versions == versions
        converted = self._converted() if is_known and self._converted is not None else None
        if converted is None:
            (converted,) = in_computing_precision(x)
            self._converted = TensorWeakRef(converted)
        if not is_known or member_index not in self._waiting:
            self._input, self._versions = TensorWeakRef(x), versions
            self._waiting = dict(enumerate(_project(converted, self.members)))
        return converted, self._waiting.pop(member_index)

    def _versions_with(self, x: Tensor) -> tuple[Any, ...]:
        """All that must not have changed since, for a projection to be the one that a member would compute itself."""
        device = x.device.type
        precision = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        return x._version, precision, *(member._version for member in self.members)


def _project(x: Tensor, members: Sequence[Tensor]) -> tuple[Tensor, ...]:
    x, *members = in_computing_precision(x, *members)
    projections = rows_of(x) @ torch.cat(members).t()
    ranks = [len(member) for member in members]
    return projections.view(*x.shape[:-1], sum(ranks)).split(ranks, dim=-1)
