"""Prepares the batches of a run ahead of the training step: in a thread, or in worker processes."""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

from library.dataset.batch_plan import PlannedBatch
from library.dataset.batches.batch_preparation import BatchPreparer
from library.dataset.batches.prefetching import prefetched
from library.dataset.batches.training_batch import TrainingBatch
from library.dataset.batches.worker_processes import prepared_by_processes

BATCHES_AHEAD = 4


@dataclass(frozen=True)
class LoaderSettings:
    num_workers: int
    """Processes; 0 = one thread of this process."""
    pin_memory: bool


def choose_loader(num_workers: int, cached: bool, device: torch.device) -> LoaderSettings:
    """Processes pay only when there are pictures to decode; cached latents are quicker read in a thread."""
    workers = 0 if cached else min(num_workers, usable_cores())
    return LoaderSettings(workers, pin_memory=device.type == "cuda")


def usable_cores() -> int:
    """Those this process may use, where the system tells; a cluster's scheduler may grant a few of many."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class BatchLoader:
    """Turns a run's planned batches into training batches, without a pause between its epochs."""

    preparer: BatchPreparer
    settings: LoaderSettings

    @contextmanager
    def load(self, planned: Iterable[PlannedBatch]) -> Iterator[Iterator[TrainingBatch]]:
        """The training batches of these planned ones, in their order; both are made as they are needed.

        Whatever prepares them starts when the context is entered, and has ended when it is left.

        Raises:
            UserError: as of `BatchPreparer.prepare`, where the batch would have come; or a worker was killed.
        """
        with ExitStack() as stack:
            batches: Iterator[TrainingBatch]
            if self.settings.num_workers == 0:
                batches = map(self.preparer.prepare, planned)
            else:
                processes = prepared_by_processes(self.preparer, planned, self.settings.num_workers)
                batches = stack.enter_context(processes)
            if self.settings.pin_memory:
                batches = map(TrainingBatch.pin_memory, batches)
            yield stack.enter_context(prefetched(batches, BATCHES_AHEAD))
