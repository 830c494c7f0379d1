"""Writes the entries of a cache while more are being encoded."""

import math
import time
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Thread
from types import TracebackType

import torch

from library.caching.cache_folder import CacheFolder
from library.caching.packed_files import write_packed

_MOST_WAITING = 64
"""Entries that may wait for a slow disk before encoding waits, too."""

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class PackLimits:
    """When a file is written. What is not written yet is lost if the run is killed."""

    num_bytes: int = 64 * 2**20
    seconds: float = 10.0


class PackWriter:
    """A context in which entries are taken; when it is left, for whatever reason, all that were taken are written."""

    def __init__(self, folder: CacheFolder, limits: PackLimits):
        self._folder = folder
        self._limits = limits
        self._queue: Queue[Tensors | None] = Queue(_MOST_WAITING)
        self._failure: Exception | None = None
        self._thread = Thread(target=self._work, name="writing a cache", daemon=True)

    def __enter__(self) -> "PackWriter":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if error is None:
            self._raise_failure()

    def put(self, entry: Tensors) -> None:
        """
        Raises:
            UserError: an earlier entry could not be written.
        """
        self._raise_failure()
        self._queue.put(entry)

    def _raise_failure(self) -> None:
        if isinstance(self._failure, OSError):
            raise self._folder.refusal(self._failure.strerror or str(self._failure)) from None
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        waiting: Tensors = {}
        num_bytes, due = 0, math.inf
        while True:
            try:
                entry = self._queue.get(timeout=max(0.0, due - time.monotonic()) if waiting else None)
            except Empty:
                entry = {}
            if entry:
                due = due if waiting else time.monotonic() + self._limits.seconds
                waiting |= entry
                num_bytes += sum(tensor.nbytes for tensor in entry.values())
            is_due = num_bytes >= self._limits.num_bytes or time.monotonic() >= due
            if waiting and (is_due or entry is None):
                self._write(waiting)
                waiting, num_bytes, due = {}, 0, math.inf
            if entry is None:
                return

    def _write(self, tensors: Tensors) -> None:
        if self._failure is not None:
            return  # only what is put must be taken, so that nobody waits for ever
        try:
            write_packed(self._folder.path, self._folder.kind.prefix, tensors)
        except Exception as failure:  # noqa: BLE001 - it is raised again by the thread that encodes
            self._failure = failure
