"""Saves the network when it is time, and removes files that are no longer wanted."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from library.errors import UserError
from library.metadata.training_metadata import MetadataWriter
from library.training.network_saving import save_network
from library.training.save_schedule import Save, SaveSchedule
from networks.files.weights_file import NonFiniteWeightsError

logger = logging.getLogger(__name__)

_DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, None: None}


@dataclass(frozen=True)
class NetworkSaver:
    """Only the main process has one."""

    network: Any
    schedule: SaveSchedule
    folder: Path
    metadata: MetadataWriter
    check: Callable[[Path], None]
    """of the last file, once it is saved"""

    def after_step(self, step: int, finished_epochs: int) -> None:
        self._save_in_between(self.schedule.after_step(step), step, finished_epochs)

    def after_epoch(self, step: int, finished_epochs: int) -> None:
        self._save_in_between(self.schedule.after_epoch(finished_epochs), step, finished_epochs)

    def at_end(self, step: int, finished_epochs: int) -> Path:
        """
        Raises:
            UserError: the file could not be saved where it belongs; it is then in the system's folder for
                temporary files, if there is room.
        """
        path = self.folder / self.schedule.final_file
        try:
            self._save(path, step, finished_epochs)
        except OSError as error:
            rescued = self._rescue(path.name, step, finished_epochs)
            where = f"it is in '{rescued}' instead; move it from there" if rescued else "what was trained is lost"
            raise UserError(f"'{path}' cannot be saved: {error.strerror or error}; {where}") from None
        self.check(path)
        return path

    def _save_in_between(self, planned: Save | None, step: int, finished_epochs: int) -> None:
        """A full disk now does not end the training: there may be room again later. Nothing is removed then."""
        if planned is None:
            return
        path = self.folder / planned.file
        try:
            self._save(path, step, finished_epochs)
        except OSError as error:
            logger.error("'%s' cannot be saved: %s; free space. Training goes on", path, error.strerror or error)
            return
        if planned.removes is not None:
            self._remove(planned.removes)

    def _rescue(self, file_name: str, step: int, finished_epochs: int) -> Path | None:
        path = Path(tempfile.gettempdir()) / file_name
        try:
            self._save(path, step, finished_epochs)
        except OSError:
            return None
        return path

    def _save(self, path: Path, step: int, finished_epochs: int) -> None:
        """
        Raises:
            OSError: the file cannot be written.
            UserError: the weights are not finite.
        """
        metadata = self._metadata(step, finished_epochs)
        try:
            save_network(self.network, path, _DTYPES[self.schedule.options.save_precision], metadata)
        except NonFiniteWeightsError as error:
            raise UserError(
                f"'{path}' was not saved, since {error}: training has diverged; "
                "lower --learning_rate, or use --mixed_precision bf16 instead of fp16"
            ) from None
        logger.info("saved %s", path)

    def _metadata(self, step: int, finished_epochs: int) -> dict[str, str]:
        """Empty when something unforeseen is wrong with them: what was trained is worth more."""
        try:
            return self.metadata.metadata(step, finished_epochs)
        except Exception:
            logger.exception("the metadata cannot be made; the file is saved without them")
            return {}

    def _remove(self, name: str) -> None:
        """A file that cannot be removed, as when a program on Windows has it open, is left."""
        path = self.folder / name
        try:
            path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            logger.warning("'%s' cannot be removed: %s", path, error.strerror or error)
            return
        logger.info("removed %s", path)
