"""How the processes of a run share what is to be encoded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Processes:
    """This process among those of the run."""

    index: int = 0
    count: int = 1
    wait_for_everyone: Callable[[], None] = lambda: None
    """returns when all processes have called it"""
    gather: Callable[[Any], list[Any]] = lambda mine: [mine]
    """what each process gives, in their order, for all of them"""

    def share_of(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's part of what all of them see alike."""
        return items[self.index :: self.count]

    def in_turn(self, action: Callable[[], None]) -> None:
        """Each process does it when those before it have done it."""
        for turn in range(self.count):
            if turn == self.index:
                action()
            self.wait_for_everyone()


class Store(Protocol[Item]):
    """What a folder holds of the things that a run needs."""

    def missing(self) -> list[Item]:
        """What is still to be encoded; in the same order for every process that sees the same folder."""
        ...

    def find_new_files(self) -> None:
        """Adds what was written since the last look."""
        ...


def complete_together(store: Store[Item], encode: Callable[[Sequence[Item]], None], processes: Processes) -> None:
    """Encodes what the folder lacks. Every process is called with a store of the same things.

    Args:
        encode: writes files for these items.
    """
    missing = store.missing()
    processes.wait_for_everyone()  # nobody writes before all have looked, so that they share out the same list
    encode(processes.share_of(missing))
    processes.wait_for_everyone()
    store.find_new_files()
    # where processes see different disks, none finds what the others wrote
    encode(store.missing())
    store.find_new_files()
