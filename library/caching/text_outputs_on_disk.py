"""Encoded captions that later runs find again."""

import contextlib
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from library.caching.text_encoder_identity import caption_key
from library.caching.text_encoder_outputs import CaptionEncoder, bytes_per_caption
from library.caching.text_output_files import (
    DamagedOutputsError,
    UnreadableOutputsError,
    find_output_files,
    open_outputs,
    verify_outputs,
    write_outputs,
)
from library.diffusion.conditioning import TextConditioning
from library.errors import UserError

logger = logging.getLogger(__name__)

CAPTIONS_PER_FILE = 64
"""What a killed run loses at most; 40 MB of float32 outputs of SDXL."""


class OutputsOnDisk:
    """Those of a run's captions whose outputs a folder holds. Files are memory-mapped by each process that needs them.

    Can be sent to other processes, and used by several threads.
    """

    def __init__(self, folder: Path, captions: Sequence[str]):
        """
        Args:
            folder: of one settings key; need not exist yet.
            captions: the run's; files without any of them are left alone.
        """
        self._folder = folder
        self._captions = {caption_key(caption): caption for caption in captions}
        self._places: dict[str, tuple[Path, int]] = {}
        """key of a caption -> file and row"""
        self._examined: set[Path] = set()
        self._opened: dict[Path, TextConditioning] = {}
        self.find_new_files()

    def find_new_files(self) -> None:
        """Adds what was written since the last look. Damaged files are left out, with one warning for all."""
        damaged: dict[Path, str] = {}
        for file in find_output_files(self._folder):
            if file in self._examined:
                continue
            self._examined.add(file)
            try:
                self._add(file)
            except DamagedOutputsError as error:
                damaged[file] = str(error)
                if not isinstance(error, UnreadableOutputsError):
                    _delete(file)
        if damaged:
            file, reason = next(iter(damaged.items()))
            logger.warning(
                f"{len(damaged)} files with text encoder outputs are damaged or cannot be read; their captions are "
                f"encoded again: '{file}' ({reason})"
                + "".join(f", '{other}'" for other in list(damaged)[1:3])
                + (", ..." if len(damaged) > 3 else "")
            )

    def missing(self) -> list[str]:
        """Captions of the run that are still to be encoded, each once, in the run's order."""
        return [caption for key, caption in self._captions.items() if key not in self._places]

    def conditioning(self, captions: Sequence[str]) -> TextConditioning:
        """The outputs of these captions, one row each.

        Raises:
            KeyError: a caption was not encoded, which is a bug.
            UserError: a file has vanished or was damaged since the run began.
        """
        return TextConditioning.concatenate([self._row(caption) for caption in captions])

    def __getstate__(self) -> dict[str, Any]:
        """Without the memory maps: another process opens its own."""
        return {**self.__dict__, "_opened": {}}

    def _add(self, file: Path) -> None:
        keys, _ = open_outputs(file)
        rows = {key: row for row, key in enumerate(keys) if key in self._captions}
        if rows:
            verify_outputs(file)
        self._places |= {key: (file, row) for key, row in rows.items()}

    def _row(self, caption: str) -> TextConditioning:
        place = self._places.get(caption_key(caption))
        if place is None:
            raise KeyError(f"the caption {caption!r} was not encoded")
        file, row = place
        outputs = self._outputs(file)
        pooled = outputs.pooled
        return TextConditioning(outputs.hidden_states[row : row + 1], None if pooled is None else pooled[row : row + 1])

    def _outputs(self, file: Path) -> TextConditioning:
        if file not in self._opened:
            try:
                self._opened[file] = open_outputs(file)[1]
            except DamagedOutputsError as error:
                raise UserError(
                    f"--cache_text_encoder_outputs_to_disk: '{file}' has vanished or was damaged since training began "
                    f"({error}); start again, and leave the folder as it is while training"
                ) from None
        return self._opened[file]


def encode_on_disk(
    encoder: CaptionEncoder,
    captions: Sequence[str],
    folder: Path,
    process: int = 0,
    num_processes: int = 1,
    wait_for_everyone: Callable[[], None] = lambda: None,
) -> OutputsOnDisk:
    """Encodes the captions that the folder lacks, and gives access to all of them.

    Several processes are each called with the same captions and share the work.

    Args:
        folder: of one settings key.
        wait_for_everyone: returns when all processes have called it; each does so twice.

    Raises:
        UserError: an output is not finite, or the folder cannot be written.
    """
    outputs = OutputsOnDisk(folder, captions)
    missing = outputs.missing()
    logger.info(
        f"{len(set(captions)) - len(missing)} of {len(set(captions))} captions are encoded already in '{folder}'"
    )
    wait_for_everyone()  # nobody writes before all have looked, so that they share out the same list
    _write(encoder, missing[process::num_processes], folder)
    wait_for_everyone()
    outputs.find_new_files()
    # where processes see different disks, none finds what the others wrote
    _write(encoder, outputs.missing(), folder)
    outputs.find_new_files()
    if outputs.missing():
        raise _refusal(folder, "files that were just written are not there, or are damaged")
    return outputs


def _write(encoder: CaptionEncoder, captions: Sequence[str], folder: Path) -> None:
    waiting: list[TextConditioning] = []
    written = encoded = 0
    for batch, outputs in encoder.encode(captions) if captions else ():
        if encoded == 0:
            _require_space(folder, len(captions) * bytes_per_caption(outputs))
        waiting.append(outputs)
        encoded += len(batch)
        if encoded - written >= CAPTIONS_PER_FILE or encoded == len(captions):
            try:
                write_outputs(folder, captions[written:encoded], TextConditioning.concatenate(waiting))
            except OSError as error:
                raise _refusal(folder, error.strerror or str(error)) from None
            waiting, written = [], encoded


def _delete(file: Path) -> None:
    """What is damaged once stays so; it would be read, and told of, in every run."""
    with contextlib.suppress(OSError):  # in a folder that is only read, say: then it is told of again
        file.unlink()


def _require_space(folder: Path, needed: int) -> None:
    """Before the hours of work, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise _refusal(folder, error.strerror or str(error)) from None
    if free < needed:
        raise _refusal(folder, f"{needed / 2**30:.2f} GiB are needed and {free / 2**30:.2f} GiB are free")


def _refusal(folder: Path, reason: str) -> UserError:
    return UserError(
        f"--cache_text_encoder_outputs_to_disk: '{folder}' cannot be written: {reason}; make room or choose another "
        "folder with --cache_dir, or use --cache_text_encoder_outputs, which keeps the outputs in memory"
    )
