"""Randomness as a pure function of what it is for.

Every draw of a run comes from a generator seeded by (run seed, purpose, identity): the same image at
the same exposure gets the same draws whatever the batch size, the number of workers or processes, and
wherever a run was resumed.
"""

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, purpose: str, *identity: int | str) -> int:
    """A 63-bit seed that depends on every argument and on nothing else."""
    text = "\x1f".join((str(seed), purpose, *(f"{type(part).__name__}:{part}" for part in identity)))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def python_generator(seed: int, purpose: str, *identity: int | str) -> random.Random:
    """For choices and shuffles of Python objects."""
    return random.Random(derive_seed(seed, purpose, *identity))


def tensor_generator(seed: int, purpose: str, *identity: int | str) -> "torch.Generator":
    """For tensors; always on the CPU, so that draws do not depend on the device."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, purpose, *identity))
