"""Arguments that a third-party network module never reads.

Modules take whatever --network_args says as **keywords and ignore in silence what they do not know. Whether they read
an argument cannot be watched from outside, but one that is read by its name has that name somewhere in the code.
"""

import dis
import functools
import inspect
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from library.options.suggestions import suggest

_FRAMEWORKS = frozenset(
    {
        "accelerate", "bitsandbytes", "diffusers", "huggingface_hub", "numpy", "peft", "safetensors", "scipy", "torch",
        "tqdm", "transformers", "triton",
    }
)  # fmt: skip
"""Packages that know nothing of --network_args."""


def unread_arguments(module: ModuleType, arguments: Iterable[str]) -> list[str]:
    """A warning for each argument whose name nothing that `create_network` may call mentions.

    None if its code cannot be seen, as that of compiled modules. To be called after create_network, which may have
    imported more.
    """
    function = _unwrapped(module.create_network)
    if not isinstance(function, FunctionType):
        return []
    names = names_mentioned_by(function)
    near = _looked_up_in(function.__code__)
    return [
        f"--network_args {name}: {module.__name__} does not read this argument; it has no effect.{suggest(name, near)}"
        for name in arguments
        if name not in names
    ]


def names_mentioned_by(function: Callable[..., Any]) -> set[str]:
    """All texts, parameters and attributes in a function and in what it uses, outside of frameworks."""
    names: set[str] = set()
    waiting: list[Any] = [function]
    seen: set[int] = set()
    while waiting:
        thing = _unwrapped(waiting.pop())
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, str):
            names.add(thing)
        elif isinstance(thing, Mapping):
            waiting += [*thing.keys(), *thing.values()]
        elif isinstance(thing, list | tuple | set | frozenset):
            waiting += thing
        elif isinstance(thing, FunctionType) and not _is_of_framework(thing.__module__):
            names |= _names_of(thing.__code__)
            waiting += _used_by(thing)
        elif isinstance(thing, type) and not _is_of_framework(thing.__module__):
            names |= set(inspect.get_annotations(thing))
            waiting += [*vars(thing).values(), *thing.__bases__]
        elif isinstance(thing, ModuleType) and not _is_of_framework(thing.__name__):
            waiting += [value for value in vars(thing).values() if getattr(value, "__module__", "") == thing.__name__]
        elif type(thing).__module__ != "builtins" and not _is_of_framework(type(thing).__module__):
            waiting += [type(thing), *getattr(thing, "__dict__", {}).values()]
    return names


def _looked_up_in(code: CodeType) -> list[str]:
    """Names of parameters, and texts that a function looks up: k["name"], k.get("name"), k.pop("name")."""
    parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    found = [*parameters]
    for before, after in itertools.pairwise(dis.get_instructions(code)):
        if before.argval in ("get", "pop", "setdefault") and isinstance(after.argval, str):
            found.append(after.argval)
        elif after.opname.startswith("BINARY_SUBSCR") and isinstance(before.argval, str):
            found.append(before.argval)
    return found


def _unwrapped(thing: Any) -> Any:
    """What decorators, properties and partial calls hide."""
    while True:
        if isinstance(thing, functools.partial):
            thing = thing.func
        elif isinstance(thing, property):
            thing = thing.fget
        elif hasattr(thing, "__wrapped__") and not isinstance(thing, type | ModuleType):
            thing = thing.__wrapped__
        elif hasattr(thing, "__func__"):
            thing = thing.__func__
        else:
            return thing


def _names_of(code: CodeType) -> set[str]:
    """Texts, attributes and parameters of a function and the functions inside it; its other variables do not count."""
    parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    names = {*code.co_names, *parameters}
    for constant in _flattened(code.co_consts):
        if isinstance(constant, str):
            names.add(constant)
        elif isinstance(constant, CodeType):
            names |= _names_of(constant)
    return names


def _flattened(constants: Iterable[Any]) -> Iterator[Any]:
    for constant in constants:
        if isinstance(constant, tuple | frozenset):
            yield from _flattened(constant)
        else:
            yield constant


def _used_by(function: FunctionType) -> Iterator[Any]:
    """What a function's names stand for: globals, modules imported inside it, and variables of functions around it."""
    package = function.__globals__.get("__package__") or ""
    for name in _names_of(function.__code__):
        if name in function.__globals__:
            yield function.__globals__[name]
        for prefix in _parents(package):
            imported = sys.modules.get(f"{prefix}{name}")
            if imported is not None:
                yield imported
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def _parents(package: str) -> Iterator[str]:
    """ "a.b" -> "", "a.", "a.b.": what a name of a module may be relative to."""
    yield ""
    parts = package.split(".") if package else []
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count]) + "."


def _is_of_framework(module: str | None) -> bool:
    package = (module or "").partition(".")[0]
    return package in _FRAMEWORKS or package in sys.stdlib_module_names
