"""Finds network modules without importing them, which would import torch."""

import importlib.util
import sys
from pathlib import Path

from library.errors import UserError
from library.options.suggestions import suggest

_OURS = __name__.partition(".")[0]


def require_module(path: str) -> None:
    """
    Raises:
        UserError: there is no module of that dotted path. Of other packages only the first part is looked up:
            anything further would import them.
    """
    search_working_directory()
    package = path.partition(".")[0]
    try:
        found = importlib.util.find_spec(path if package == _OURS else package)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise UserError(explain_missing_module(path, path))


def search_working_directory() -> None:
    """Makes modules in the folder of the command importable, as users expect."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def explain_missing_module(path: str, missing: str) -> str:
    """What is wrong when `path` cannot be imported since `missing` is not there."""
    if missing and not f"{path}.".startswith(f"{missing}."):
        return f"--network_module {path}: it needs the package {missing}: pip install {missing}"
    ours = [f"{_OURS}.{file.stem}" for file in Path(__file__).parent.glob("*.py") if _is_kind(file)]
    return f"--network_module {path}: there is no such module.{suggest(path, ours) or f' Ours: {sorted(ours)[0]}'}"


def _is_kind(file: Path) -> bool:
    return "\ndef create_network(" in file.read_text(encoding="utf-8")
