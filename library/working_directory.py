"""Modules of users are looked for in the folder where the command was given."""

import sys
from pathlib import Path


def search_working_directory() -> None:
    """Makes modules in the folder of the command importable, as users expect."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
