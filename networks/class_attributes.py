"""Keeps runs in one process apart where a network module writes to its own classes.

Modules written for one run per process set attributes of their classes from the arguments of a run, such as the
layers that a preset names; those that the next run does not set would hold for it, too.
"""

import enum
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

_PLAIN = (bool, int, float, str, tuple, list, dict, set, type(None))

Attributes = dict[str, Any]

_at_first: WeakKeyDictionary[ModuleType, dict[type, Attributes]] = WeakKeyDictionary()


def restore_class_attributes(module: ModuleType) -> None:
    """Gives the classes of a network module the plain values that they had when this was first called for it."""
    if module not in _at_first:
        _at_first[module] = {kind: _plain_attributes(kind) for kind in _classes_of(module)}
        return
    for kind, attributes in _at_first[module].items():
        now = _plain_attributes(kind)
        for name in now.keys() - attributes.keys():
            delattr(kind, name)
        for name, value in attributes.items():
            if now.get(name) != value:
                setattr(kind, name, _copy(value))


def _classes_of(module: ModuleType) -> list[type]:
    """Those that the module defines or imports from its own package."""
    package = module.__name__.partition(".")[0]
    kinds = [value for value in vars(module).values() if isinstance(value, type) and not issubclass(value, enum.Enum)]
    return [kind for kind in kinds if kind.__module__.partition(".")[0] == package]


def _plain_attributes(kind: type) -> Attributes:
    return {
        name: _copy(value)
        for name, value in vars(kind).items()
        if not name.startswith("__") and isinstance(value, _PLAIN)
    }


def _copy(value: Any) -> Any:
    """Lists, sets and dictionaries anew, as they may be changed in place; what is in them as it is."""
    if isinstance(value, dict):
        return type(value)((name, _copy(inner)) for name, inner in value.items())
    if isinstance(value, list | set):
        return type(value)(_copy(inner) for inner in value)
    return value
