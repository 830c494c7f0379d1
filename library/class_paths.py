"""Classes of users: found by dotted paths, also in the folder in which the command was given; and their errors."""

import importlib
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from library.errors import UserError
from library.working_directory import search_working_directory

_OF_OTHERS = (
    "<",  # frozen modules
    str(Path(__file__).parent),
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
)
"""How the names of files begin that are not the user's code."""


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
        raise UserError(f"{option} {path}: write MODULE.CLASS, such as my_module.MyClass for my_module.py")
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
        raise UserError(f"{option} {path}: importing {module_path} raised {describe_error(error)}") from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise UserError(f"{option} {path}: {module_path} has no class {name}")
    return found


def describe_error(error: Exception) -> str:
    """An error of the user's code in one line, with the place in that code, whatever library it called there."""
    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    places = [f" ({one.filename}, line {one.lineno})" for one in frames if not one.filename.startswith(_OF_OTHERS)]
    return f"{type(error).__name__}{text and ': '}{text}{places[-1] if places else ''}"
