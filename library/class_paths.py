"""Classes of users: found by dotted paths, also in the folder in which the command was given; and their errors."""

import importlib
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from library.errors import UserError
from library.options.suggestions import suggest
from library.working_directory import search_working_directory

_OF_OTHERS = (
    "<",  # frozen modules
    str(Path(__file__).parent),
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
)
"""How the names of files begin that are not the user's code."""


def find_class(path: str, named: str, pip_name: str = "") -> Any:
    """Imports the module and takes the class out of it.

    Args:
        path: MODULE.CLASS.
        named: the option and its value, as the user wrote them.
        pip_name: the package that the class is in, if that is known.

    Raises:
        UserError: there is no such module or class, or importing it fails.
    """
    module_path, _, name = path.rpartition(".")
    if not module_path:
        raise UserError(f"{named}: write MODULE.CLASS, such as my_module.MyClass for my_module.py")
    search_working_directory()
    try:
        module = importlib.import_module(module_path)
    except ModuleNotFoundError as error:
        remedy = f": pip install {pip_name}" if pip_name else ""
        if error.name and f"{module_path}.".startswith(f"{error.name}."):
            remedy = "" if "." in error.name else remedy
            raise UserError(f"{named}: {no_module(error.name)}{remedy}") from None
        raise UserError(
            f"{named}: importing {module_path} needs the module {error.name}, which is not installed{remedy}"
        ) from None
    except Exception as error:
        raise UserError(f"{named}: importing {module_path} raised {describe_error(error)}") from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [other for other, value in vars(module).items() if isinstance(value, type)]
        raise UserError(f"{named}: {module_path} has no class {name}.{suggest(name, classes)}")
    return found


def no_module(name: str) -> str:
    return (
        f"there is no module {name}, neither among the installed packages nor in the folder in which the command was "
        "given"
    )


def describe_error(error: Exception) -> str:
    """An error of the user's code in one line, with the place in that code, whatever library it called there."""
    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    places = [f" ({one.filename}, line {one.lineno})" for one in frames if not one.filename.startswith(_OF_OTHERS)]
    return f"{type(error).__name__}{text and ': '}{text}{places[-1] if places else ''}"
