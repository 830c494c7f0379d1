"""Files that are complete whenever they exist under their final name."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside `target`; moves it there once the block has finished.

    The data is flushed to the disk before the move. When the block raises, or the process dies, the file
    that `target` named before is untouched; after an exception the temporary file is removed too.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    target = Path(target)
    handle, name = tempfile.mkstemp(
        prefix=f".{target.name[:40]}.", suffix=f".partial{target.suffix}", dir=target.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        _apply_default_permissions(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def write_text_atomically(target: Path, text: str) -> None:
    """Writes UTF-8 text with `\\n` line ends."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _apply_default_permissions(path: Path) -> None:
    """mkstemp makes files private to the user; give this one the mode an ordinary new file gets."""
    if os.name == "posix":
        umask = os.umask(0)
        os.umask(umask)
        path.chmod(0o666 & ~umask)


def _sync_folder(folder: Path) -> None:
    """Makes the renaming itself durable, where the system can open folders."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
