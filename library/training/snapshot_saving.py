"""Saves snapshots of averaged weights, from which others are made after training."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from library.training import file_names
from library.training.network_saving import save_network
from library.training.weight_versions import WeightVersion
from networks.files.weights_file import NonFiniteWeightsError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SnapshotSaver:
    """Only the main process has one. Nothing that goes wrong here ends the training."""

    network: Any
    versions: Callable[[int], Sequence[WeightVersion]]
    """of the weights, after a step"""
    every: int
    """steps"""
    folder: Path
    precision: torch.dtype

    def after_step(self, step: int, metadata: Callable[[], Mapping[str, str]]) -> None:
        if step % self.every == 0:
            self._save(step, metadata())

    def at_end(self, step: int, metadata: Callable[[], Mapping[str, str]]) -> None:
        """The last step has snapshots, too."""
        if step % self.every:
            self._save(step, metadata())

    def _save(self, step: int, metadata: Mapping[str, str]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for version in self.versions(step):
                path = self.folder / file_names.of_version(file_names.snapshot_file(step), version.suffix)
                with version.applied():
                    save_network(self.network, path, self.precision, {**metadata, **version.metadata()})
        except (OSError, NonFiniteWeightsError, torch.OutOfMemoryError) as error:
            reason = getattr(error, "strerror", None) or error
            logger.error("the snapshots of step %d cannot be saved in '%s': %s", step, self.folder, reason)
            return
        logger.info("saved snapshots of step %d in '%s'", step, self.folder)
