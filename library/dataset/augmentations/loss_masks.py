"""Masks of the loss: how much each latent cell of a picture counts."""

from collections.abc import Sequence

import numpy as np
import torch

WHITE = 255


def mask_sums(
    mask: np.ndarray,  # uint8 (height, width) in pixels, of a bucket's size
    cell: int,
) -> np.ndarray:
    """int16 (height, width) in latent cells: the sums of the mask over squares of `cell` pixels.

    Whole numbers are what caches keep: the mean of 64 bytes needs no more than 16 bits to be exact.

    Raises:
        ValueError: the sums do not fit into 16 bits.
    """
    if _full(cell) > np.iinfo(np.int16).max:
        raise ValueError(f"masks of cells of {cell}x{cell} pixels do not fit into 16 bits")
    height, width = mask.shape
    of_rows = mask.reshape(height // cell, cell, width).sum(axis=1, dtype=np.int16)
    return of_rows.reshape(height // cell, width // cell, cell).sum(axis=2, dtype=np.int16)


def masks_from_sums(
    sums: Sequence[np.ndarray | None],  # of pictures of one size; None = everything counts
    cell: int,
) -> torch.Tensor | None:
    """float32 (batch, height, width) in latent cells, 0 to 1; None when no picture has a mask."""
    shape = next((one.shape for one in sums if one is not None), None)
    if shape is None:
        return None
    everything = np.full(shape, _full(cell), np.int16)
    stacked = np.stack([everything if one is None else one for one in sums])
    return torch.from_numpy(stacked.astype(np.float32) / np.float32(_full(cell)))


def _full(cell: int) -> int:
    """The sum of a cell that counts fully."""
    return WHITE * cell * cell
