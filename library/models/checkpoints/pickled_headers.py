"""Names and shapes of the tensors in a pickled checkpoint, without torch and without reading the tensors.

PyTorch writes two forms. Since release 1.6 a checkpoint is a zip archive whose record data.pkl holds the objects and
refers to one record for each storage. The form before that is a sequence of pickles (magic number, protocol, system,
objects, keys of the storages), after which each storage follows as 8 bytes for its length and its content.
"""

import pickle
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from library.errors import first_line
from library.models.checkpoints.inert_objects import Placeholder

ZIP_START = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_START = b"\x80\x02\x8a\x0a"
"""Protocol 2 and an integer of ten bytes: how the magic number is pickled."""

LARGEST_PICKLE = 2**28
"""bytes of the record with the objects; a full-size checkpoint with its optimizer has a few million"""

_STORAGE_LENGTH = 8
"""bytes before each storage in the legacy form"""

_ELEMENT_SIZES = {
    "ByteStorage": 1, "CharStorage": 1, "BoolStorage": 1, "HalfStorage": 2, "BFloat16Storage": 2, "ShortStorage": 2,
    "FloatStorage": 4, "IntStorage": 4, "DoubleStorage": 8, "LongStorage": 8,
}  # fmt: skip
"""bytes"""


class TensorStandIn:
    """Takes the arguments of torch's _rebuild_tensor and keeps the shape."""

    def __init__(self, storage: Any, offset: int, size: tuple[int, ...], *_: Any):
        self.shape = tuple(size)
        if not all(isinstance(side, int) and side >= 0 for side in self.shape):
            raise ValueError(f"a tensor of shape {self.shape}")

    def __setstate__(self, state: Any) -> None: ...


class ParameterStandIn:
    """Takes the arguments of torch's _rebuild_parameter; a parameter is its tensor."""

    def __new__(cls, data: Any, *_: Any) -> Any:
        return data


class DictionaryStandIn(dict[Any, Any]):
    """An OrderedDict without the attributes that a pickle may give it."""

    def __setstate__(self, state: Any) -> None: ...


class HeaderUnpickler(pickle.Unpickler):
    """Builds containers and stand-ins; imports nothing and calls nothing else.

    Stand-ins are fresh classes each time, so that nothing a pickle does to one outlives its reading.
    """

    storage_bytes: dict[str, int | None]
    """For each storage that was spoken of; None = of a type that is not known."""

    def __init__(self, file: Any):
        super().__init__(file)
        self.storage_bytes = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return type(name, (DictionaryStandIn,), {})
        if (module, name) == ("torch", "Size"):
            return tuple
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return type(name, (TensorStandIn,), {})
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return type(name, (ParameterStandIn,), {})
        return type(name, (Placeholder,), {})

    def persistent_load(self, description: Any) -> None:
        """Takes ("storage", type, key, location, number of elements, ...)."""
        _, storage_type, key, _, elements, *_ = description
        if not isinstance(elements, int):
            raise ValueError(f"a storage of {elements!r} elements")
        size = _ELEMENT_SIZES.get(storage_type.__name__)
        self.storage_bytes[str(key)] = None if size is None else size * elements


def read_pickled_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape. A `state_dict` entry, as Lightning writes it, is unpacked.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file is damaged, cut short, a program, or holds no named tensors; says which.
    """
    with open(path, "rb") as file:
        is_archive = file.read(len(ZIP_START)) == ZIP_START
        file.seek(0)
        content = _read_archive(file) if is_archive else _read_legacy(file, path.stat().st_size)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if isinstance(content, dict) and "string_to_param" in content:
        return {"string_to_param": ()}  # a textual inversion embedding: its tensors lie one level deeper
    named = content.items() if isinstance(content, dict) else ()
    shapes = {name: value.shape for name, value in named if isinstance(name, str) and isinstance(value, TensorStandIn)}
    if not shapes:
        raise ValueError("the file holds no named tensors")
    return shapes


def _read_archive(file: BinaryIO) -> Any:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        raise ValueError(
            "the file is cut short or damaged: it is an archive without its end; download it again"
        ) from None
    records = {name.partition("/")[2] or name: name for name in archive.namelist()}
    if "constants.pkl" in records:
        raise ValueError("the file is a TorchScript program, not a checkpoint; programs are not run")
    if "data.pkl" not in records:
        raise ValueError("the file is an archive, but not a checkpoint: it has no record data.pkl")
    if archive.getinfo(records["data.pkl"]).file_size > LARGEST_PICKLE:
        raise ValueError("the file is damaged or not a checkpoint (its record data.pkl is too large)")
    try:
        with archive.open(records["data.pkl"]) as record:
            return HeaderUnpickler(record).load()
    except Exception as error:  # noqa: BLE001 - a damaged pickle may fail in any way
        raise _damaged(error) from None


def _read_legacy(file: BinaryIO, size: int) -> Any:
    try:
        if HeaderUnpickler(file).load() != LEGACY_MAGIC:
            raise ValueError("it does not begin with PyTorch's magic number")
        for _ in ("protocol", "system"):
            HeaderUnpickler(file).load()
        objects = HeaderUnpickler(file)
        content = objects.load()
        keys = HeaderUnpickler(file).load()
        sizes = [objects.storage_bytes.get(str(key)) for key in keys]
    except Exception as error:  # noqa: BLE001 - a damaged pickle may fail in any way
        raise _damaged(error) from None
    expected = file.tell() + sum(_STORAGE_LENGTH + (storage or 0) for storage in sizes)
    if size < expected:
        at_least = "at least " if None in sizes else ""
        raise ValueError(f"the file is cut short: {size:,} bytes instead of {at_least}{expected:,}; download it again")
    return content


def _damaged(error: Exception) -> ValueError:
    return ValueError(f"the file is damaged or not a checkpoint ({first_line(error)})")
