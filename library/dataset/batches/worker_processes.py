"""Prepares batches in worker processes that live as long as the run."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from library.dataset.batch_plan import PlannedBatch
from library.dataset.batches.batch_preparation import BatchPreparer
from library.dataset.batches.training_batch import TrainingBatch
from library.errors import UserError

_DEAD_WORKER = "DataLoader worker"
"""How DataLoader's RuntimeError about a worker that was killed begins."""


@contextmanager
def prepared_by_processes(
    preparer: BatchPreparer, planned: Iterable[PlannedBatch], num_workers: int
) -> Iterator[Iterator[TrainingBatch]]:
    """The training batches of the planned ones, in their order, at most two per process ahead.

    When the context is left, the processes have ended.

    Raises:
        UserError: as of `BatchPreparer.prepare`, where the batch would have come; or a process was killed.
    """
    loader = DataLoader(
        _Preparation(preparer),
        batch_size=None,
        sampler=planned,
        num_workers=num_workers,
        worker_init_fn=_begin,
        generator=torch.Generator(),  # else it would draw from the global one, and the run depend on the workers
    )
    results: Any = iter(loader)
    try:
        yield map(_batch_or_error, results)
    except RuntimeError as error:
        if not str(error).startswith(_DEAD_WORKER):
            raise
        raise UserError(
            "a process that prepares images was killed, most often because memory is short, or shared memory "
            "(docker run --shm-size); give a smaller --max_data_loader_n_workers: 0 needs no processes"
        ) from error
    finally:
        results._shutdown_workers()  # else they would live until the last reference, such as a traceback's, is gone


class _Preparation(TorchDataset[Any]):
    """Planned batches are what DataLoader calls indices: they travel to the workers, which know no epochs."""

    def __init__(self, preparer: BatchPreparer):
        self._preparer = preparer

    def __getitem__(self, batch: PlannedBatch) -> TrainingBatch | UserError:
        try:
            return self._preparer.prepare(batch)
        except UserError as error:
            return error  # raised, it would arrive wrapped in a worker's traceback


def _batch_or_error(result: TrainingBatch | UserError) -> TrainingBatch:
    if isinstance(result, UserError):
        raise result
    return result


def _begin(worker: int) -> None:
    """What each process does first. Ctrl-C reaches all of a terminal's processes: the one that trains ends the others
    in good order. No process starts threads of its own, since there are as many processes as cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
