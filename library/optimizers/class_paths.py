"""Finds classes by their dotted paths, also in the folder in which the command was given."""

import importlib
from typing import Any

from library.errors import UserError
from library.working_directory import search_working_directory


def find_class(path: str, option: str) -> Any:
    """Imports the module and takes the class out of it.

    Args:
        path: MODULE.CLASS.
        option: that names the path, with its dashes.

    Raises:
        UserError: there is no such module or class, or importing it fails.
    """
    module_path, _, name = path.rpartition(".")
    if not module_path:
        raise UserError(f"{option} {path}: write MODULE.CLASS, the path by which Python imports it")
    search_working_directory()
    try:
        module = importlib.import_module(module_path)
    except ModuleNotFoundError as error:
        if error.name and f"{module_path}.".startswith(f"{error.name}."):
            raise UserError(
                f"{option} {path}: there is no module {error.name}, neither among the installed packages nor in the "
                "folder in which the command was given"
            ) from None
        raise UserError(f"{option} {path}: it needs the package {error.name}: pip install {error.name}") from None
    except Exception as error:
        raise UserError(f"{option} {path}: importing {module_path} failed: {error or type(error).__name__}") from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise UserError(f"{option} {path}: {module_path} has no class {name}")
    return found
