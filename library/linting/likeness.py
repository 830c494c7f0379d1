"""Which pictures look alike, however they were saved: by difference hashes, and a look at small copies.

The hash (64 bits) says for each of 8 x 8 places of a picture shrunk to 9 x 8 grey pixels whether the next pixel to the
right is brighter (N. Krawetz, "Kind of Like That", 2013). Two pictures are taken for alike if at most
`MOST_DIFFERENT_BITS` of these bits differ, and their copies of 16 x 16 coloured pixels correlate by at least
`LEAST_CORRELATION`: where a plain background is large, the bits of different pictures are nearly the same, and the same
drawing in other colours is another picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

MOST_DIFFERENT_BITS = 6
LEAST_CORRELATION = 0.95
_COPY_SIDE = 16
_LEAST_CONTRAST = 1.0
"""Standard deviation of the small copy's channels, in levels of 256; below that there is nothing to be recognised."""


@dataclass(frozen=True)
class Likeness:
    """What a picture is recognised by."""

    hash: np.uint64
    mirrored_hash: np.uint64
    """of the picture mirrored left to right"""
    copy: np.ndarray
    """uint8 (16, 16, 3), RGB"""


def likeness_of(pixels: np.ndarray) -> Likeness | None:
    """
    Args:
        pixels: uint8 RGB (height, width, 3)

    Returns:
        None if the picture is plain, so that there is nothing to be recognised.
    """
    copy = cv2.resize(pixels, (_COPY_SIDE, _COPY_SIDE), interpolation=cv2.INTER_AREA)
    if copy.std(axis=(0, 1)).max() < _LEAST_CONTRAST:
        return None
    grid = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    return Likeness(_difference_hash(grid), _difference_hash(grid[:, ::-1]), copy)


def _difference_hash(grid: np.ndarray) -> np.uint64:
    return np.uint64(np.packbits(grid[:, 1:] > grid[:, :-1]).view(np.uint64)[0])


def alike(likenesses: Sequence[Likeness]) -> list[list[int]]:
    """Groups of pictures that look alike, as indices; each picture is in one group at most.

    A group is a picture and what is like it, not what is like that in turn: a film's frames would all become one group.
    """
    hashes, copies = _hashes(likenesses), _copies(likenesses)
    free = np.ones(len(hashes), bool)
    groups = []
    for first in range(len(hashes)):
        if not free[first]:
            continue
        others = _like(hashes[first], copies[first], hashes[first + 1 :], copies[first + 1 :]) + first + 1
        others = others[free[others]]
        free[first] = False
        free[others] = False
        if len(others):
            groups.append([first, *others.tolist()])
    return groups


def mirrored(likenesses: Sequence[Likeness]) -> list[tuple[int, int]]:
    """Pairs of pictures of which one looks like the other's mirror image, as indices; symmetric ones are left out."""
    hashes, copies = _hashes(likenesses), _copies(likenesses)
    pairs = []
    for first, likeness in enumerate(likenesses):
        mirror = _normalised(likeness.copy[:, ::-1])
        found = _like(likeness.mirrored_hash, mirror, hashes[first + 1 :], copies[first + 1 :]) + first + 1
        if len(found):
            unmirrored = set(_like(hashes[first], copies[first], hashes[found], copies[found]).tolist())
            pairs += [(first, int(other)) for place, other in enumerate(found) if place not in unmirrored]
    return pairs


def _like(wanted: np.uint64, copy: np.ndarray, hashes: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Indices of what is like one picture."""
    near: np.ndarray = np.flatnonzero(np.bitwise_count(hashes ^ wanted) <= MOST_DIFFERENT_BITS)
    confirmed: np.ndarray = near[copies[near] @ copy >= LEAST_CORRELATION]
    return confirmed


def _hashes(likenesses: Sequence[Likeness]) -> np.ndarray:
    return np.array([likeness.hash for likeness in likenesses], np.uint64)


def _copies(likenesses: Sequence[Likeness]) -> np.ndarray:
    """float32 (pictures, 768), so that the product of two rows is their correlation."""
    if not likenesses:
        return np.empty((0, 3 * _COPY_SIDE**2), np.float32)
    return np.stack([_normalised(likeness.copy) for likeness in likenesses])


def _normalised(copy: np.ndarray) -> np.ndarray:
    """Without the mean of each channel: a tint of all of the picture does not count."""
    values = copy.astype(np.float32)
    values -= values.mean(axis=(0, 1))
    values /= np.linalg.norm(values)
    return values.ravel()
