"""Arguments that a third-party network module never reads.

Modules take whatever --network_args says as **keywords and ignore in silence what they do not know. Whether they read
an argument cannot be watched from outside, but one that is read by its name has that name somewhere in the code.
"""

import ast
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType

from library.options.suggestions import suggest

_FRAMEWORKS = frozenset(
    {
        "accelerate", "bitsandbytes", "diffusers", "huggingface_hub", "numpy", "peft", "safetensors", "scipy", "torch",
        "tqdm", "transformers", "triton",
    }
)  # fmt: skip
"""Packages that know nothing of --network_args."""


def unread_arguments(module: ModuleType, arguments: Iterable[str]) -> list[str]:
    """A warning for each argument whose name neither the module nor what it imports mentions.

    None if its code cannot be seen, as that of compiled modules. To be called after create_network, which may have
    imported more.
    """
    tree = _syntax_of(module)
    if tree is None:
        return []
    near, names = _texts_in(tree), names_mentioned_by(module)
    return [
        f"--network_args {name}: {module.__name__} does not read this argument; it has no effect.{suggest(name, near)}"
        for name in arguments
        if name not in names
    ]


def names_mentioned_by(module: ModuleType) -> set[str]:
    """All texts, parameters, fields and attributes in a module and in what it imports, outside of frameworks."""
    names: set[str] = set()
    waiting, seen = [module], {module.__name__}
    while waiting:
        place = waiting.pop()
        tree = _syntax_of(place)
        if tree is None:
            continue
        names |= _names_in(tree)
        for imported in set(_imports(tree, place.__package__ or "")) - seen:
            seen.add(imported)
            if imported in sys.modules and not _is_of_framework(imported):
                waiting.append(sys.modules[imported])
    return names


def _syntax_of(module: ModuleType) -> ast.Module | None:
    try:
        return ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):
        return None


def _texts_in(tree: ast.Module) -> set[str]:
    """As what is looked up in a dictionary."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def _names_in(tree: ast.Module) -> set[str]:
    """Texts, parameters, attributes and fields of classes. Variables do not count, nor do comments."""
    names = _texts_in(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                names.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Names of modules, and of what else is imported from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _is_of_framework(module: str) -> bool:
    package = module.partition(".")[0]
    return package in _FRAMEWORKS or package in sys.stdlib_module_names
