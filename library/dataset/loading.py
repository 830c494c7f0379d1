"""Prepares batches ahead of the training step: in worker processes, or in a thread."""

import multiprocessing
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from library.dataset.batch_plan import PlannedBatch
from library.dataset.batch_preparation import BatchPreparer
from library.dataset.training_batch import TrainingBatch
from library.errors import UserError

BATCHES_AHEAD = 4


@dataclass(frozen=True)
class LoaderSettings:
    num_workers: int
    """Processes; 0 = one thread of this process."""
    persistent: bool
    pin_memory: bool


def choose_loader(num_workers: int, persistent: bool, cached: bool, device: torch.device) -> LoaderSettings:
    """Processes pay only when there are pictures to decode; cached latents are quicker read in a thread.

    Where processes start afresh (Windows, macOS) they take seconds to import everything: they are always kept.
    """
    workers = 0 if cached else min(num_workers, _usable_cores())
    kept = persistent or multiprocessing.get_start_method() != "fork"
    return LoaderSettings(workers, kept and workers > 0, pin_memory=device.type == "cuda")


def _usable_cores() -> int:
    """Those this process may use, where the system tells; a cluster's scheduler may grant a few of many."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class BatchLoader:
    """Iterates over the prepared batches of one epoch after another."""

    def __init__(self, preparer: BatchPreparer, settings: LoaderSettings):
        self._preparer = preparer
        self._settings = settings
        self._plan = _PlannedBatches(preparer)
        self._data_loader: DataLoader[Any] | None = None

    def load(self, batches: Sequence[PlannedBatch]) -> Iterator[TrainingBatch]:
        """The training batches of these planned ones, in order.

        Raises:
            UserError: an image cannot be read.
        """
        if self._settings.num_workers == 0:
            return _load_in_thread(self._preparer, batches, self._settings.pin_memory)
        return self._load_in_processes(batches)

    def _load_in_processes(self, batches: Sequence[PlannedBatch]) -> Iterator[TrainingBatch]:
        if self._data_loader is None:
            self._data_loader = DataLoader(
                self._plan,
                batch_size=None,
                sampler=self._plan,
                num_workers=self._settings.num_workers,
                persistent_workers=self._settings.persistent,
                pin_memory=self._settings.pin_memory,
            )
        self._plan.batches = list(batches)
        for result in self._data_loader:
            if isinstance(result, UserError):
                raise result
            yield result


class _PlannedBatches(TorchDataset[Any]):
    """What DataLoader needs: as a sampler it hands out planned batches, as a dataset it prepares one.

    Planned batches travel to the workers, so that persistent workers need not know about epochs.
    """

    def __init__(self, preparer: BatchPreparer):
        self._preparer = preparer
        self.batches: list[PlannedBatch] = []

    def __iter__(self) -> Iterator[PlannedBatch]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, batch: PlannedBatch) -> TrainingBatch | UserError:
        torch.set_num_threads(1)
        try:
            return self._preparer.prepare(batch)
        except UserError as error:
            return error  # an exception would arrive wrapped in a worker's traceback


def _load_in_thread(
    preparer: BatchPreparer, batches: Sequence[PlannedBatch], pin_memory: bool
) -> Iterator[TrainingBatch]:
    """Prepares a few batches ahead; an error in the thread is raised where its batch would have come."""
    ready: queue.Queue[TrainingBatch | BaseException] = queue.Queue(maxsize=BATCHES_AHEAD)
    stopped = threading.Event()

    def put(item: TrainingBatch | BaseException) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for planned in batches:
                batch = preparer.prepare(planned)
                if not put(batch.pin_memory() if pin_memory else batch):
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised again by the consumer
            put(error)

    thread = threading.Thread(target=work, name="batch loader", daemon=True)
    thread.start()
    try:
        for _ in batches:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
