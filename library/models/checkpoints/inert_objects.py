"""What stands for the objects that a pickle names but that nobody here needs."""

from typing import Any


class Placeholder:
    """Stands for anything a checkpoint names that is not needed; takes whatever the pickle does to it."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None: ...

    def __call__(self, *arguments: Any, **keywords: Any) -> "Placeholder":
        return self

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, item: Any) -> None: ...

    def extend(self, items: Any) -> None: ...

    def add(self, item: Any) -> None: ...
