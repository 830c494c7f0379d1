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


def read_network_file(file: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors, .ckpt or .pt network file, on the CPU.

    Raises:
        UserError: the file is missing, damaged or holds something else.
    """
    try:
        if Path(file).suffix.lower() == ".safetensors":
            return safetensors.torch.load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"network file '{file}' cannot be read: {error}") from None
    except Exception:  # noqa: BLE001 - a damaged pickle may fail in any way, and says nothing of use to the user
        raise UserError(f"network file '{file}' cannot be read: it is damaged, or holds more than tensors") from None
    if not isinstance(content, dict) or not all(torch.is_tensor(value) for value in content.values()):
        raise UserError(f"network file '{file}' cannot be read: it does not hold named tensors")
    return content


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
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise NonFiniteWeightsError(
            f"there is NaN or infinity in {len(broken)} of {counted(len(tensors), 'tensor')}, such as {broken[0]}"
        )
    with atomic_path(path) as temporary:
        try:
            if path.suffix.lower() == ".safetensors":
                described = dict(metadata or {})
                described |= network_hashes(tensors, described)
                safetensors.torch.save_file(tensors, temporary, described)
            else:
                torch.save(tensors, temporary)
        except (safetensors.SafetensorError, RuntimeError) as error:
            raise OSError(str(error)) from None  # how both say that the disk is full


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
