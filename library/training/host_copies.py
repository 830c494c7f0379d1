"""Small tensors on their way from the device to the CPU."""

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

import torch

Label = TypeVar("Label")


class HostCopies(Generic[Label]):
    """A queue of copies: each comes out, in the order of sending, once the device has caught up with it.

    On CUDA nothing waits: the copies go to pinned memory, and an event tells when they are complete.
    """

    def __init__(self) -> None:
        self._pending: deque[tuple[Label, torch.Tensor, torch.cuda.Event | None]] = deque()

    def send(self, label: Label, values: torch.Tensor) -> None:
        """Starts copying and returns at once; `values` may change afterwards."""
        if values.device.type != "cuda":
            self._pending.append((label, values.detach().to("cpu", copy=True), None))
            return
        copy = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        copy.copy_(values.detach(), non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self._pending.append((label, copy, arrived))

    def arrived(self, wait: bool = False) -> Iterator[tuple[Label, torch.Tensor]]:
        """Those that have arrived since the last call; with `wait`, all that were sent."""
        while self._pending:
            label, copy, arrived = self._pending[0]
            if arrived is not None and not arrived.query():
                if not wait:
                    return
                arrived.synchronize()
            self._pending.popleft()
            yield label, copy
