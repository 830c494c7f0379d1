"""Loads one component of a model from its folder, as diffusers and transformers save them."""

from pathlib import Path
from typing import Any

import torch

from library.models.diffusers_layout import choose_weights, file_names


def load_component(kind: Any, folder: Path, dtype: torch.dtype, device: torch.device, use_mmap: bool) -> Any:
    """
    Args:
        kind: the model's class, of diffusers or transformers.

    Raises:
        OSError, ValueError, SafetensorError: files are missing or damaged, or tensors are missing, in whose place
            the libraries would put random ones.
    """
    model, report = kind.from_pretrained(
        folder,
        torch_dtype=dtype,
        variant=_variant(folder),
        local_files_only=True,
        output_loading_info=True,
        disable_mmap=not use_mmap,
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(f"{len(missing)} tensors of {type(model).__name__} are missing, {missing[0]} among them")
    return model.to(device)


def _variant(folder: Path) -> str | None:
    """fp16 where there are no other weights."""
    chosen = choose_weights(file_names(folder))
    return "fp16" if chosen is not None and ".fp16" in chosen else None
