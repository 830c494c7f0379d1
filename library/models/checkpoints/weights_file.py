"""Named tensors from a model file of any kind."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from library.errors import UserError
from library.models.checkpoints.safe_unpickling import load_pickled_checkpoint

PICKLED_EXTENSIONS = frozenset({".ckpt", ".pt", ".pth", ".bin"})


def read_weights(path: Path, option: str) -> dict[str, torch.Tensor]:
    """Tensor name -> tensor on the CPU. Safetensors files are memory-mapped: reading happens on use.

    Raises:
        UserError: the file is missing, damaged or of another kind; names the option.
    """
    try:
        if path.suffix.lower() in PICKLED_EXTENSIONS:
            return load_pickled_checkpoint(path)
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"--{option} '{path}': the file is damaged or not a safetensors file ({error})") from None
    except ValueError as error:
        raise UserError(f"--{option} '{path}': {error}") from None
    except OSError as error:
        raise UserError(f"--{option} '{path}': {error.strerror or error}") from None
