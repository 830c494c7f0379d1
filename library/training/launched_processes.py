"""How many processes a launcher started for this run, and how many it was asked for."""

import os

_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""In which environment variables launchers say so."""


def launched_processes() -> int:
    """1 when nothing says otherwise."""
    counts = [int(os.environ[name]) for name in _COUNTS if os.environ.get(name, "").isdecimal()]
    return counts[0] if counts else 1


def started_by_accelerate() -> bool:
    return "ACCELERATE_MIXED_PRECISION" in os.environ


def lacks_processes() -> bool:
    """Whether `accelerate launch` was asked for several processes and started a single one: it says then where they
    meet, but not how many there are."""
    return started_by_accelerate() and "MASTER_PORT" in os.environ and not any(name in os.environ for name in _COUNTS)
