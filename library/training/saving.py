"""Saves the network when it is time, and removes files that are no longer wanted."""

import errno
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from library.errors import UserError
from library.metadata.training_metadata import MetadataWriter
from library.training import file_names
from library.training.network_saving import save_network
from library.training.save_schedule import Save, SaveSchedule
from library.training.snapshot_saving import SnapshotSaver
from library.training.weight_versions import AS_TRAINED, WeightVersion
from library.wording import counted
from networks.files.weights_file import NonFiniteWeightsError

logger = logging.getLogger(__name__)

PRECISIONS = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, None: None}


@dataclass(frozen=True)
class SavedNetwork:
    path: Path
    step: int


def _lost(steps: int) -> str:
    return f"{counted(steps, 'step')} {'is' if steps == 1 else 'are'} lost"


@dataclass(frozen=True)
class NetworkSaver:
    """Only the main process has one.

    Every save writes a file for each version of the weights. Whatever goes wrong with another than the first costs that
    file only.
    """

    network: Any
    schedule: SaveSchedule
    folder: Path
    metadata: MetadataWriter
    check: Callable[[Path], None]
    """of a last file, once it is saved, with its version of the weights in the network"""
    versions: Sequence[WeightVersion] = (AS_TRAINED,)
    """the main one first"""
    snapshots: SnapshotSaver | None = None
    saved: list["SavedNetwork"] = field(default_factory=list)
    """what was saved of the main version, the last one last; earlier ones may be removed since"""

    def what_is_kept(self, step: int) -> str:
        """What is left of a training that ends after so many steps, before its time."""
        if not self.saved:
            return f"no network was saved, {_lost(step)}; --save_every_n_steps saves in between"
        last = self.saved[-1]
        after = f"; after it, {_lost(step - last.step)}" if step > last.step else ""
        return f"the last network saved is '{last.path}' of step {last.step}{after}"

    def after_step(self, step: int, finished_epochs: int) -> None:
        self._save_in_between(self.schedule.after_step(step), step, finished_epochs)
        if self.snapshots is not None:
            self.snapshots.after_step(step, partial(self._metadata, step, finished_epochs))

    def after_epoch(self, step: int, finished_epochs: int) -> None:
        self._save_in_between(self.schedule.after_epoch(finished_epochs), step, finished_epochs)

    def at_end(self, step: int, finished_epochs: int) -> Path:
        """
        Raises:
            UserError: the main file could not be saved where it belongs; it is then in the system's folder for
                temporary files, if there is room.
        """
        main, *others = self.versions
        try:
            path = self._save_last(main, step, finished_epochs)
        finally:  # the others are worth having also where the main one cannot be saved
            for version in others:
                self._save_beside(version, step, finished_epochs)
            if self.snapshots is not None:
                self.snapshots.at_end(step, partial(self._metadata, step, finished_epochs))
        self._check(path, main)
        return path

    def _save_beside(self, version: WeightVersion, step: int, finished_epochs: int) -> None:
        try:
            self._check(self._save_last(version, step, finished_epochs), version)
        except UserError as error:
            logger.error("%s", error)

    def _save_last(self, version: WeightVersion, step: int, finished_epochs: int) -> Path:
        """
        Raises:
            UserError: the file could not be saved where it belongs.
        """
        path = self.folder / file_names.of_version(self.schedule.final_file, version.suffix)
        try:
            self._save(path, version, step, finished_epochs)
        except OSError as error:
            rescued = self._rescue(path.name, version, step, finished_epochs)
            where = f"it is in '{rescued}' instead; move it from there" if rescued else "these weights are lost"
            raise UserError(f"'{path}' cannot be saved: {error.strerror or error}; {where}") from None
        return path

    def _check(self, path: Path, version: WeightVersion) -> None:
        try:
            with version.applied():
                self.check(path)
        except torch.OutOfMemoryError:
            logger.warning("'%s' is not checked: there is no memory for exchanging the weights", path)

    def _save_in_between(self, planned: Save | None, step: int, finished_epochs: int) -> None:
        """A file whose save failed removes no earlier one."""
        if planned is None:
            return
        for version in self.versions:
            path = self.folder / file_names.of_version(planned.file, version.suffix)
            if self._save_if_possible(path, version, step, finished_epochs) and planned.removes is not None:
                self._remove(file_names.of_version(planned.removes, version.suffix))

    def _save_if_possible(self, path: Path, version: WeightVersion, step: int, finished_epochs: int) -> bool:
        """A full disk now does not end the training: there may be room again later."""
        try:
            self._save(path, version, step, finished_epochs)
        except OSError as error:
            logger.error("'%s' cannot be saved: %s; free space. Training goes on", path, error.strerror or error)
            return False
        except UserError as error:
            if version is self.versions[0]:
                raise
            logger.error("%s", error)
            return False
        return True

    def _rescue(self, file_name: str, version: WeightVersion, step: int, finished_epochs: int) -> Path | None:
        path = Path(tempfile.gettempdir()) / file_name
        try:
            self._save(path, version, step, finished_epochs)
        except OSError:
            return None
        return path

    def _save(self, path: Path, version: WeightVersion, step: int, finished_epochs: int) -> None:
        """
        Raises:
            OSError: the file cannot be written.
            UserError: the weights are not finite.
        """
        metadata = {**self._metadata(step, finished_epochs), **version.metadata()}
        try:
            with version.applied():
                save_network(self.network, path, PRECISIONS[self.schedule.options.save_precision], metadata)
        except NonFiniteWeightsError as error:
            raise UserError(
                f"'{path}' was not saved, since {error}: training has diverged; "
                "lower --learning_rate, or use --mixed_precision bf16 instead of fp16"
            ) from None
        except torch.OutOfMemoryError:
            raise OSError(errno.ENOMEM, "there is no memory for exchanging the weights") from None
        logger.info("saved %s", path)
        if version is self.versions[0]:
            self.saved.append(SavedNetwork(path, step))

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
