"""How many processes a launcher started for this run."""

import os

_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""In which environment variables launchers say so."""


def launched_processes() -> int:
    """1 when nothing says otherwise."""
    counts = [int(os.environ[name]) for name in _COUNTS if os.environ.get(name, "").isdecimal()]
    return counts[0] if counts else 1
