"""JSON in which nothing is dropped silently."""

import json
from typing import Any


def parse_json(text: str) -> Any:
    """What the text says.

    Raises:
        ValueError: it is not JSON, or an object has the same key twice (of which Python would keep the last one).
    """
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key '{twice}' stands twice in the same object")
    return content
