"""Encoded captions that later runs find again.

Packed files hold some captions each: tensors `hidden_states` (captions, tokens, width) and, where the model has it,
`pooled` (captions, width); metadata `captions`, the keys of the captions in the order of the rows, with blanks between.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from library.caching.cache_folder import CacheFolder, CacheKind
from library.caching.content_identity import text_key
from library.caching.packed_files import DamagedFileError, PackedFile, open_packed, write_packed
from library.caching.shared_work import Processes, complete_together
from library.caching.text_encoder_outputs import CaptionEncoder, bytes_per_caption
from library.diffusion.conditioning import TextConditioning
from library.errors import UserError

logger = logging.getLogger(__name__)

CAPTIONS_PER_FILE = 64
"""What a killed run loses at most; 40 MB of float32 outputs of SDXL."""

KIND = CacheKind(
    contents="text encoder outputs",
    prefix="captions",
    option="--cache_text_encoder_outputs_to_disk",
    alternative="use --cache_text_encoder_outputs, which keeps the outputs in memory",
)


class OutputsOnDisk:
    """Those of a run's captions whose outputs a folder holds. Files are memory-mapped by each process that needs them.

    Can be sent to other processes, and used by several threads.
    """

    def __init__(self, folder: Path, captions: Sequence[str], is_trusted: bool = False):
        """
        Args:
            folder: of one settings key; need not exist yet.
            captions: the run's; files without any of them are left alone.
            is_trusted: files are not compared with what was once written to them.
        """
        self.folder = CacheFolder(folder, KIND, is_trusted)
        self._captions = {text_key(caption): caption for caption in captions}
        self._places: dict[str, tuple[Path, int]] = {}
        """key of a caption -> file and row"""
        self._opened: dict[Path, TextConditioning] = {}
        self.find_new_files()

    def find_new_files(self) -> None:
        """Adds what was written since the last look. Damaged files are left out, with one warning for all."""
        for file in self.folder.new_files(lambda file: not self._captions.keys().isdisjoint(_captions_in(file))):
            rows = {key: row for row, key in enumerate(_captions_in(file)) if key in self._captions}
            self._places |= {key: (file.path, row) for key, row in rows.items()}

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

    def _row(self, caption: str) -> TextConditioning:
        place = self._places.get(text_key(caption))
        if place is None:
            raise KeyError(f"the caption {caption!r} was not encoded")
        file, row = place
        outputs = self._outputs(file)
        pooled = outputs.pooled
        return TextConditioning(outputs.hidden_states[row : row + 1], None if pooled is None else pooled[row : row + 1])

    def _outputs(self, file: Path) -> TextConditioning:
        if file not in self._opened:
            try:
                tensors = open_packed(file).tensors
            except DamagedFileError as error:
                raise UserError(
                    f"{KIND.option}: '{file}' has vanished or was damaged since training began "
                    f"({error}); start again, and leave the folder as it is while training"
                ) from None
            self._opened[file] = TextConditioning(tensors["hidden_states"], tensors.get("pooled"))
        return self._opened[file]


def encode_on_disk(
    encoder: CaptionEncoder,
    captions: Sequence[str],
    folder: Path,
    processes: Processes = Processes(),  # noqa: B008 - immutable
    is_trusted: bool = False,
) -> OutputsOnDisk:
    """Encodes the captions that the folder lacks, and gives access to all of them.

    Several processes are each called with the same captions and share the work.

    Args:
        folder: of one settings key.
        is_trusted: files are not compared with what was once written to them.

    Raises:
        UserError: an output is not finite, or the folder cannot be written.
    """
    outputs = OutputsOnDisk(folder, captions, is_trusted)
    missing = outputs.missing()
    logger.info(
        f"{len(set(captions)) - len(missing)} of {len(set(captions))} captions are encoded already in '{folder}'"
    )
    complete_together(outputs, lambda share: _write(encoder, share, outputs.folder), processes)
    if outputs.missing():
        raise outputs.folder.refusal("files that were just written are not there, or are damaged")
    return outputs


def _write(encoder: CaptionEncoder, captions: Sequence[str], folder: CacheFolder) -> None:
    waiting: list[TextConditioning] = []
    written = encoded = 0
    for batch, outputs in encoder.encode(captions) if captions else ():
        if encoded == 0:
            folder.prepare_for(len(captions) * bytes_per_caption(outputs))
        waiting.append(outputs)
        encoded += len(batch)
        if encoded - written >= CAPTIONS_PER_FILE or encoded == len(captions):
            _write_file(folder, captions[written:encoded], TextConditioning.concatenate(waiting))
            waiting, written = [], encoded


def _write_file(folder: CacheFolder, captions: Sequence[str], outputs: TextConditioning) -> None:
    tensors = {"hidden_states": outputs.hidden_states}
    if outputs.pooled is not None:
        tensors["pooled"] = outputs.pooled
    try:
        write_packed(folder.path, KIND.prefix, tensors, {"captions": " ".join(map(text_key, captions))})
    except OSError as error:
        raise folder.refusal(error.strerror or str(error)) from None


def _captions_in(file: PackedFile) -> list[str]:
    """The keys of its captions, by row."""
    return file.metadata.get("captions", "").split()
