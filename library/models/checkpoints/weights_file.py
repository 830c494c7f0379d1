"""Tensors from a model file of any kind, in the precision and on the device where they will stay."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load

from library.errors import UserError
from library.models.checkpoints.headers import PICKLED_EXTENSIONS, read_header
from library.models.checkpoints.safe_unpickling import is_zip, load_pickled_checkpoint

RUN_BYTES = 256 * 2**20
"""So much is converted before the file is mapped afresh: pages that were read count as memory of this process as long
as the mapping lives."""


class WeightsFile:
    """A file of named tensors; nothing but its header is read until tensors are asked for."""

    def __init__(self, path: Path, option: str, use_mmap: bool = True):
        """
        Raises:
            UserError: the file is missing, damaged or of another kind; names the option.
        """
        self._path = path
        self._option = option
        self._is_pickled = path.suffix.lower() in PICKLED_EXTENSIONS
        self._in_memory: dict[str, torch.Tensor] | None = None
        self.shapes = read_header(path, option).shapes
        self._use_mmap = use_mmap and (not self._is_pickled or is_zip(path))

    def read(self, names: Sequence[str], dtype: torch.dtype | None, device: torch.device) -> dict[str, torch.Tensor]:
        """Copies of the tensors, in the order of `names`; whole numbers keep their type, and with None as dtype all do.

        Peak memory: the result and RUN_BYTES; without memory mapping, also what is left of the file.

        Raises:
            UserError: the file is damaged.
        """
        read = {}
        for run in self._runs(names):
            read |= self._read_run(run, dtype, device)
        return {name: read[name] for name in names}

    def _runs(self, names: Sequence[str]) -> Iterator[list[str]]:
        """The names in the order in which they lie in the file, in groups of a limited size."""
        order = {name: position for position, name in enumerate(self.shapes)}
        run: list[str] = []
        size = 0
        for name in sorted(names, key=order.__getitem__):
            run.append(name)
            size += 4 * torch.Size(self.shapes[name]).numel()
            if size >= RUN_BYTES:
                yield run
                run, size = [], 0
        yield run

    def _read_run(self, names: list[str], dtype: torch.dtype | None, device: torch.device) -> dict[str, torch.Tensor]:
        def finished(tensor: torch.Tensor) -> torch.Tensor:
            kept = dtype if tensor.is_floating_point() else tensor.dtype
            return tensor.to(device=device, dtype=kept, copy=True)

        try:
            if not self._use_mmap:
                return {name: finished(self._all_in_memory().pop(name)) for name in names}
            if self._is_pickled:
                mapped = load_pickled_checkpoint(self._path, mmap=True)
                return {name: finished(mapped[name]) for name in names}
            with safe_open(self._path, "pt") as file:
                return {name: finished(file.get_tensor(name)) for name in names}
        except SafetensorError as error:
            raise UserError(f"--{self._option} '{self._path}': the file is damaged ({error})") from None
        except ValueError as error:
            raise UserError(f"--{self._option} '{self._path}': {error}") from None
        except OSError as error:
            raise UserError(f"--{self._option} '{self._path}': {error.strerror or error}") from None

    def _all_in_memory(self) -> dict[str, torch.Tensor]:
        if self._in_memory is None:
            if self._is_pickled:
                self._in_memory = dict(load_pickled_checkpoint(self._path, mmap=False))
            else:
                self._in_memory = load(self._path.read_bytes())
        return self._in_memory
