"""Reading and writing network files."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch

from library.atomic_files import atomic_path
from library.errors import UserError
from library.wording import counted

Weights = Mapping[str, torch.Tensor]

_LEGACY_HASH_OFFSET = 0x100000
_LEGACY_HASH_LENGTH = 0x10000
_HEADER_SIZE_BYTES = 8
_FULL_PRECISION = (".alpha", ".dora_scale", ".rescale")
_EIGHT_BITS = (torch.float8_e4m3fn, torch.float8_e5m2)


def read_network_file(file: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors, .ckpt or .pt network file, on the CPU.

    Floats of eight bits, with which nothing can be computed, become float16, which holds them exactly. A `state_dict`
    entry of a pickle, as Lightning writes it, is unpacked.

    Raises:
        UserError: the file is missing, damaged or holds something else.
    """
    try:
        if Path(file).suffix.lower() == ".safetensors":
            return _computable(safetensors.torch.load_file(file))
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"network file '{file}' cannot be read: {error}") from None
    except Exception:  # noqa: BLE001 - a damaged pickle may fail in any way, and says nothing of use to the user
        raise UserError(f"network file '{file}' cannot be read: it is damaged, or holds more than tensors") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(torch.is_tensor(value) for value in content.values()):
        raise UserError(f"network file '{file}' cannot be read: it does not hold named tensors")
    return _computable(content)


def _computable(tensors: Weights) -> dict[str, torch.Tensor]:
    return {name: tensor.half() if tensor.dtype in _EIGHT_BITS else tensor for name, tensor in tensors.items()}


def read_network_metadata(file: str | Path) -> dict[str, str]:
    """The metadata of a network file; empty where there is none, as in .ckpt and .pt files.

    Raises:
        UserError: the file is missing or damaged.
    """
    if Path(file).suffix.lower() != ".safetensors":
        return {}
    try:
        with safetensors.safe_open(file, framework="pt") as content:
            return dict(content.metadata() or {})
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"network file '{file}' cannot be read: {error}") from None


def not_finite(tensors: Weights, dtype: torch.dtype | None = None) -> list[str]:
    """Names of the tensors that hold NaN or infinity, or would in a precision. Asks the device once."""
    flags = [torch.isfinite(tensor.to(dtype or tensor.dtype)).all() for tensor in tensors.values()]
    finite = torch.stack(flags).tolist() if flags else []
    return [name for name, is_finite in zip(tensors, finite, strict=True) if not is_finite]


def require_finite(tensors: Weights, dtype: torch.dtype | None = None) -> None:
    """
    Raises:
        NonFiniteWeightsError: a weight is not finite, or would not be in a precision.
    """
    broken = not_finite(tensors, dtype)
    if broken:
        raise NonFiniteWeightsError(
            f"there is NaN or infinity in {len(broken)} of {counted(len(tensors), 'tensor')}, such as {broken[0]}"
        )


class NonFiniteWeightsError(ValueError):
    """Weights that became NaN or infinite; a file with them is of no use."""


def write_network_file(
    file: str | Path, weights: Weights, dtype: torch.dtype | None, metadata: Mapping[str, str] | None
) -> None:
    """Writes a network file, complete or not at all. Alphas, DoRA's magnitudes and OFT's factors stay float32, which
    every client reads: they are few, and rounding them would change all that they multiply.

    A .safetensors file gets the metadata and two hashes of the weights with it; .ckpt and .pt files cannot
    hold any.

    Raises:
        NonFiniteWeightsError: a weight is not finite.
        OSError: the file cannot be written.
    """
    path = Path(file)
    tensors = {name: _for_file(name, tensor, dtype) for name, tensor in weights.items()}
    require_finite(tensors)
    with atomic_path(path) as temporary:
        try:
            if path.suffix.lower() == ".safetensors":
                described = dict(metadata or {})
                described |= network_hashes(tensors, described)
                safetensors.torch.save_file(tensors, temporary, described)
            else:
                with open(temporary, "wb") as pickle:
                    torch.save(tensors, pickle)
        except (safetensors.SafetensorError, RuntimeError) as error:  # how both say that the disk is full
            raise _why_not_written(error) from None


def _why_not_written(error: Exception) -> OSError:
    """torch tells of positions in the file, but what happened there is known."""
    cause = error.__context__
    return cause if isinstance(cause, OSError) else OSError(str(error))


def _for_file(name: str, tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    tensor = tensor.detach().to("cpu")
    return tensor.to(torch.float32 if name.endswith(_FULL_PRECISION) else dtype or tensor.dtype).contiguous()


def network_hashes(tensors: Weights, metadata: Mapping[str, str]) -> dict[str, str]:
    """The two hashes by which web UIs recognise a network whatever its metadata becomes later.

    sshs_model_hash covers everything after the header. sshs_legacy_hash covers 64 KiB from 1 MiB on of the
    file as it would be with only the ss_ fields (format of the extension "additional networks").
    """
    training_fields = {name: value for name, value in metadata.items() if name.startswith("ss_")}
    content = safetensors.torch.save(dict(tensors), training_fields)
    header_size = int.from_bytes(content[:_HEADER_SIZE_BYTES], "little")
    legacy_part = content[_LEGACY_HASH_OFFSET : _LEGACY_HASH_OFFSET + _LEGACY_HASH_LENGTH]
    return {
        "sshs_model_hash": hashlib.sha256(memoryview(content)[_HEADER_SIZE_BYTES + header_size :]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(legacy_part).hexdigest()[:8],
    }
