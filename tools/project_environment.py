"""The project's own Python environment, made when it is first needed. Uses nothing but the standard library."""

import hashlib
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
TRAINING = "requirements.txt"
OPTIMIZERS = "requirements-optimizers.txt"
DEVELOPMENT = "requirements-dev.txt"
OLDEST_PYTHON = (3, 11)


def ensure_environment(requirements: Sequence[str]) -> Path:
    """The environment's Python, after everything in these requirement files has been installed.

    What is installed already is left alone until a requirement file changes.

    Raises:
        SystemExit: Python is too old, or the installation failed.
    """
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        raise SystemExit(f"Python {wanted} or newer is needed; this is {sys.version.split()[0]}")
    python = _python_of(ENVIRONMENT)
    if not python.exists():
        print(f"Creating the environment {ENVIRONMENT}", flush=True)
        venv.create(ENVIRONMENT, with_pip=True)
    for name in requirements:
        _install(python, ROOT / name)
    return python


def _python_of(environment: Path) -> Path:
    windows = environment / "Scripts" / "python.exe"
    return windows if sys.platform == "win32" else environment / "bin" / "python"


def _install(python: Path, requirements: Path) -> None:
    """A stamp beside the environment's Python remembers what was installed."""
    stamp = ENVIRONMENT / f"{requirements.name}.sha256"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"Installing {requirements.name}; the first time this takes minutes and gigabytes", flush=True)
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-q", "-r", str(requirements)]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"Installing {requirements.name} failed; the messages above say why")
    stamp.write_text(wanted)


def run(python: Path, *arguments: str | int | Path) -> int:
    """Runs a command of the project in its root folder, with its output shown. Returns the exit code."""
    return subprocess.run([str(python), *map(str, arguments)], cwd=ROOT, check=False).returncode
