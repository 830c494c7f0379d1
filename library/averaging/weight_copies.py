"""All trained weights as one flat float32 tensor, on the device where they are averaged."""

from collections.abc import Sequence

import torch


class WeightCopies:
    """Copies weights to where they are averaged: at once on their device, from a GPU to the CPU while it goes on."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter], on_cpu: bool):
        """
        Args:
            parameters: one at least, all on the same device.
            on_cpu: the copies are wanted there, wherever the parameters are.
        """
        self._parameters = list(parameters)
        source = self._parameters[0].device
        self._device = torch.device("cpu") if on_cpu else source
        self._transfer = _Transfer(source) if on_cpu and source.type == "cuda" else None

    def now(self) -> torch.Tensor:
        """(numbers,), the present weights."""
        return self._flat().to(self._device, torch.float32)

    def take(self) -> torch.Tensor | None:
        """(numbers,), the present weights; None = they are on their way, and what was before must have arrived."""
        if self._transfer is None:
            return self.now()
        self._transfer.begin(self._flat())
        return None

    def arrived(self) -> torch.Tensor | None:
        """(numbers,), what was on its way, waited for; to be read before the next is taken. None = nothing was."""
        return None if self._transfer is None else self._transfer.end()

    def put_back(self, values: torch.Tensor) -> None:
        """Writes such a flat tensor into the parameters, in place, since optimizers may hold views of them."""
        first = self._parameters[0]
        parts = values.to(first.device).split([parameter.numel() for parameter in self._parameters])
        shaped = [part.view(parameter.shape) for part, parameter in zip(parts, self._parameters, strict=True)]
        with torch.no_grad():
            torch._foreach_copy_(self._parameters, shaped)

    def _flat(self) -> torch.Tensor:
        """In the widest precision among the parameters. The memory that it takes is free after a step: activations
        needed more."""
        return torch.cat([parameter.detach().reshape(-1) for parameter in self._parameters])


class _Transfer:
    """One copy on its way from a GPU to pinned memory, on a stream of its own: neither the GPU's computations nor the
    program wait for it."""

    def __init__(self, source: torch.device):
        self._stream = torch.cuda.Stream(source)
        self._arrived = torch.cuda.Event()
        self._target: torch.Tensor | None = None
        self._is_pending = False

    def begin(self, values: torch.Tensor) -> None:
        if self._target is None:
            self._target = torch.empty_like(values, device="cpu", pin_memory=True)
        self._stream.wait_stream(torch.cuda.current_stream(values.device))
        with torch.cuda.stream(self._stream):
            self._target.copy_(values, non_blocking=True)
            self._arrived.record()
        values.record_stream(self._stream)  # its memory is not given away before it has been copied
        self._is_pending = True

    def end(self) -> torch.Tensor | None:
        if not self._is_pending or self._target is None:
            return None
        self._arrived.synchronize()
        self._is_pending = False
        return self._target.float()
