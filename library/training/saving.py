"""Saves the network when it is time, and removes files that are no longer wanted."""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from library.errors import UserError
from library.metadata.training_metadata import MetadataWriter
from library.options.groups import SavingOptions
from library.training import file_names
from library.training.step_counts import epochs_between_saves
from networks.weights_file import NonFiniteWeightsError

logger = logging.getLogger(__name__)

_DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, None: None}


@dataclass(frozen=True)
class NetworkSaver:
    """Knows names, intervals and formats. Only the main process has one."""

    network: Any
    options: SavingOptions
    folder: Path
    metadata: MetadataWriter
    num_epochs: int

    def after_step(self, step: int, finished_epochs: int) -> None:
        every = self.options.save_every_n_steps
        if not every or step % every:
            return
        name = self.options.output_name
        saved = self._save_in_between(file_names.step_file(name, step, self._extension), step, finished_epochs)
        removed = file_names.step_to_remove(step, every, self.options.save_last_n_steps)
        if saved and removed is not None:
            self._remove(file_names.step_file(name, removed, self._extension))

    def after_epoch(self, step: int, finished_epochs: int) -> None:
        """The last epoch is not saved here: it is what the final file holds."""
        every = self._epochs_between_saves
        if not every or finished_epochs % every or finished_epochs >= self.num_epochs:
            return
        name = self.options.output_name
        file_name = file_names.epoch_file(name, finished_epochs, self._extension)
        saved = self._save_in_between(file_name, step, finished_epochs)
        removed = file_names.epoch_to_remove(finished_epochs, every, self.options.save_last_n_epochs)
        if saved and removed is not None:
            self._remove(file_names.epoch_file(name, removed, self._extension))

    def at_end(self, step: int, finished_epochs: int) -> Path:
        """
        Raises:
            UserError: the file could not be saved where it belongs; it is then in the system's folder for
                temporary files, if there is room.
        """
        path = self.folder / file_names.final_file(self.options.output_name, self._extension)
        try:
            self._save(path, step, finished_epochs)
        except OSError as error:
            rescued = self._rescue(path.name, step, finished_epochs)
            where = f"it is in '{rescued}' instead; move it from there" if rescued else "what was trained is lost"
            raise UserError(f"'{path}' cannot be saved: {error.strerror or error}; {where}") from None
        return path

    @property
    def _extension(self) -> str:
        return f".{self.options.save_model_as}"

    @property
    def _epochs_between_saves(self) -> int | None:
        if self.options.save_n_epoch_ratio:
            return epochs_between_saves(self.num_epochs, self.options.save_n_epoch_ratio)
        return self.options.save_every_n_epochs

    def _save_in_between(self, file_name: str, step: int, finished_epochs: int) -> bool:
        """Whether it worked. A full disk now does not end the training: there may be room again later."""
        path = self.folder / file_name
        try:
            self._save(path, step, finished_epochs)
        except OSError as error:
            logger.error("'%s' cannot be saved: %s; free space. Training goes on", path, error.strerror or error)
            return False
        return True

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
            self.network.save_weights(str(path), _DTYPES[self.options.save_precision], metadata)
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
