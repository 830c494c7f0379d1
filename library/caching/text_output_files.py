"""Files with encoded captions: safetensors files that each hold some captions of one settings key.

Tensors `hidden_states` (captions, tokens, width) and, where the model has it, `pooled` (captions, width); metadata
`captions`, the keys of the captions in the order of the rows, separated by blanks, and `content`, a hash of all that.
"""

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from library.atomic_files import atomic_path
from library.caching.text_encoder_identity import caption_key, content_hash
from library.diffusion.conditioning import TextConditioning

_PREFIX, _SUFFIX = "captions-", ".safetensors"


class DamagedOutputsError(Exception):
    """A file that does not hold what was once written to it; the message says why."""


class UnreadableOutputsError(DamagedOutputsError):
    """A file that cannot be read now; it may be whole."""


def find_output_files(folder: Path) -> Iterator[Path]:
    """Complete files with captions, in a fixed order; none if there is no such folder."""
    yield from sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}"))


def write_outputs(folder: Path, captions: Sequence[str], outputs: TextConditioning) -> None:
    """Writes one file, under a name that no other process uses, and makes the folder if it is missing.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _tensors(outputs)
    keys = " ".join(map(caption_key, captions))
    metadata = {"captions": keys, "content": content_hash(tensors.values(), keys)}
    with atomic_path(folder / f"{_PREFIX}{uuid.uuid4().hex}{_SUFFIX}") as temporary:
        temporary.write_bytes(save(tensors, metadata))


def open_outputs(file: Path) -> tuple[list[str], TextConditioning]:
    """The keys of the file's captions, and their outputs, which are read from a memory map when they are used.

    Raises:
        DamagedOutputsError: the file cannot be read, is truncated, or is of another kind.
    """
    keys, outputs, _ = _open(file)
    return keys, outputs


def verify_outputs(file: Path) -> None:
    """Reads the whole file.

    Raises:
        DamagedOutputsError: it differs from what was written.
    """
    keys, outputs, content = _open(file)
    if content_hash(_tensors(outputs).values(), " ".join(keys)) != content:
        raise DamagedOutputsError("its content has changed")


def _open(file: Path) -> tuple[list[str], TextConditioning, str]:
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
        outputs = TextConditioning(tensors["hidden_states"], tensors.get("pooled"))
        return metadata["captions"].split(), outputs, metadata["content"]
    except OSError as error:
        raise UnreadableOutputsError(str(error)) from None
    except SafetensorError as error:
        raise DamagedOutputsError(str(error)) from None
    except KeyError as error:
        raise DamagedOutputsError(f"it lacks {error}") from None


def _tensors(outputs: TextConditioning) -> dict[str, torch.Tensor]:
    tensors = {"hidden_states": outputs.hidden_states, "pooled": outputs.pooled}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}
