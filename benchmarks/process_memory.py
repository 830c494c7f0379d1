"""What a process has in memory, as Linux counts it in /proc."""

import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_INTERVAL_SECONDS = 0.05
_KIBIBYTE = 1024


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    resident: int
    """anonymous memory and mapped pages of files"""
    anonymous: int
    """what cannot be dropped and read again from a file"""
    highest_resident: int
    """since the process began, or since forget_highest()"""


def memory_of(process: int | str = "self") -> Memory | None:
    """None: the process has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = {name: int(value) * _KIBIBYTE for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", status, re.MULTILINE)}
    if "VmRSS" not in found:
        return None
    return Memory(found["VmRSS"], found["RssAnon"], found["VmHWM"])


def forget_highest() -> None:
    """This process's highest_resident becomes what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


@dataclass
class WatchedRun:
    """What a process did."""

    exit_code: int = 0
    highest_resident: int = 0
    """bytes"""
    highest_anonymous: int = 0
    """bytes; sampled, so that a shorter peak goes unseen"""
    anonymous_at_first_mark: int = 0
    """bytes: the highest until the first mark"""
    seconds: float = 0.0
    seconds_until: dict[str, float] = field(default_factory=dict)
    """mark -> when it was first written"""


def watch(command: Sequence[str], log: Path, mark: str) -> WatchedRun:
    """Runs a command to its end.

    Args:
        log: where its output goes.
        mark: pattern with one group, which is what the marks are called.
    """
    run, start = WatchedRun(), time.monotonic()
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    while process.poll() is None:
        now = memory_of(process.pid)
        if now is not None:
            run.highest_resident = max(run.highest_resident, now.highest_resident)
            run.highest_anonymous = max(run.highest_anonymous, now.anonymous)
        for name in re.findall(mark, log.read_text(errors="replace")):
            if not run.seconds_until:
                run.anonymous_at_first_mark = run.highest_anonymous
            run.seconds_until.setdefault(name, time.monotonic() - start)
        time.sleep(_INTERVAL_SECONDS)
    run.exit_code, run.seconds = process.returncode, time.monotonic() - start
    return run
