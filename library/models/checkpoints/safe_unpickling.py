"""Reads pickled checkpoints (.ckpt, .pt, .pth, .bin) without ever running code from them.

A pickle is a program that may call any function it can name. Here only the few names that rebuild tensors
are real; every other name becomes an inert placeholder, so that the objects which training frameworks leave
in their checkpoints (callbacks, loop states, ...) load as empty shells instead of being imported.
"""

import collections
import pickle
from pathlib import Path
from typing import Any

import torch

from library.errors import first_line
from library.models.checkpoints.inert_objects import Placeholder

_TENSOR_MAKERS = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}
_DTYPES = frozenset({"float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"})
_STORAGES = frozenset(
    {
        "HalfStorage", "FloatStorage", "DoubleStorage", "BFloat16Storage", "CharStorage", "ShortStorage",
        "IntStorage", "LongStorage", "ByteStorage", "BoolStorage", "UntypedStorage",
    }
)  # fmt: skip


class RestrictedUnpickler(pickle.Unpickler):
    """Finds the tensor makers and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _TENSOR_MAKERS:
            return _TENSOR_MAKERS[module, name]
        if module == "torch" and name in _DTYPES:
            return getattr(torch, name)
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return getattr(torch, name)
        return type(f"Placeholder_{module}.{name}", (Placeholder,), {})


class _RestrictedPickle:
    """What torch.load asks of a pickle module."""

    __name__ = "restricted pickle"
    Unpickler = RestrictedUnpickler

    @staticmethod
    def load(file: Any, **keywords: Any) -> Any:
        return RestrictedUnpickler(file, **keywords).load()


def is_zip(path: Path) -> bool:
    """Whether a checkpoint has the form that torch writes since release 1.6."""
    with open(path, "rb") as file:
        return torch.serialization._is_zipfile(file)


def _is_program(path: Path) -> bool:
    """Whether torch.load would hand the file to torch.jit.load, which runs what is in it."""
    with open(path, "rb") as file:
        if not torch.serialization._is_zipfile(file):
            return False
        try:
            return "constants.pkl" in torch._C.PyTorchFileReader(file).get_all_records()
        except (RuntimeError, OSError):
            return False  # a damaged archive: torch.load says so


def load_pickled_checkpoint(path: Path, mmap: bool = False) -> dict[str, torch.Tensor]:
    """The tensors of a pickled checkpoint by name, on the CPU.

    A `state_dict` entry, as Lightning writes it, is unpacked.

    Args:
        mmap: map the file, so that tensors are read when they are used; without effect on files of the old form,
            which cannot be mapped.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file is damaged, or holds no named tensors.
    """
    if _is_program(path):
        raise ValueError("the file is a TorchScript program, not a checkpoint; programs are not run")
    try:
        content = torch.load(
            path, map_location="cpu", pickle_module=_RestrictedPickle(), weights_only=False, mmap=mmap and is_zip(path)
        )
    except Exception as error:  # noqa: BLE001 - a damaged pickle may fail in any way
        raise ValueError(f"the file is damaged or not a checkpoint ({first_line(error)})") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise ValueError("the file holds no named tensors")
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and torch.is_tensor(value)}
    if not tensors:
        raise ValueError("the file holds no named tensors")
    return tensors
