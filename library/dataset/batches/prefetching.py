"""Takes the items of an iterable in a thread, a few before they are asked for."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class _End:
    error: BaseException | None
    """None = there are no more items."""


@contextmanager
def prefetched(items: Iterable[Item], ahead: int) -> Iterator[Iterator[Item]]:
    """The same items in the same order, at most `ahead` of them made and not yet asked for.

    An error of `items` is raised where its item would have come. When the context is left, the thread has ended:
    it finishes the item that it is at, and makes no other.
    """
    ready: SimpleQueue[Item | _End] = SimpleQueue()
    room = threading.Semaphore(ahead - 1)
    is_over = threading.Event()

    def make() -> None:
        try:
            for item in items:
                ready.put(item)
                room.acquire()
                if is_over.is_set():
                    return
            ready.put(_End(None))
        except BaseException as error:  # noqa: BLE001 - it is raised again by the consumer
            ready.put(_End(error))

    def take() -> Iterator[Item]:
        while not isinstance(item := ready.get(), _End):
            room.release()
            yield item
        if item.error is not None:
            raise item.error

    thread = threading.Thread(target=make, name="prefetching", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        is_over.set()
        room.release()
        thread.join()
