"""The processes of a run, as threads of the test."""

import threading

from library.caching.shared_work import Processes


class Meeting:
    """What they exchange."""

    def __init__(self, count: int):
        self._barrier, self._given, self._count = threading.Barrier(count, timeout=20), {}, count

    def processes(self, index: int) -> Processes:
        def gather(mine):
            self._given[index] = mine
            self._barrier.wait()
            everything = [self._given[one] for one in range(self._count)]
            self._barrier.wait()
            return everything

        return Processes(index, self._count, self._barrier.wait, gather)
