"""The two hashes by which web UIs name a base model."""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_SHORT_HASH_OFFSET = 0x100000
_SHORT_HASH_LENGTH = 0x10000


@dataclass(frozen=True)
class ModelHashes:
    short: str
    """8 hex digits: SHA-256 of 64 KiB from 1 MiB on"""
    full: str
    """SHA-256 of the whole file"""


def hash_model(path: Path) -> ModelHashes:
    """Folders and files that cannot be read get the words that other tools write for them."""
    try:
        with open(path, "rb") as file:
            file.seek(_SHORT_HASH_OFFSET)
            short = hashlib.sha256(file.read(_SHORT_HASH_LENGTH)).hexdigest()[:8]
            file.seek(0)
            full = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        word = "IsADirectory" if path.is_dir() else "NOFILE"
        return ModelHashes(word, word)
    return ModelHashes(short, full)


def hash_model_in_background(path: Path) -> Future[ModelHashes]:
    """Hashing gigabytes takes seconds, and nobody needs the result before the first file is saved."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="model hash")
    future = pool.submit(hash_model, path)
    pool.shutdown(wait=False)
    return future
