"""Runs all checks and tests in the project's own environment, the tests in several processes.

    python tests/run.py                 everything that takes less than minutes
    python tests/run.py -m slow         the long tests
    python tests/run.py tests/options   some tests; what follows is handed to pytest

Without arguments the linters, the type checker and the check of the layers run first.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from project_environment import DEVELOPMENT, OPTIMIZERS, TRAINING, ensure_environment, run

CHECKS = (
    ("-m", "ruff", "check", "."),
    ("-m", "ruff", "format", "--check", "."),
    ("-m", "mypy"),
    ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"),
)

MOST_PROCESSES = 4
"""Each needs some gigabytes of memory."""


def main() -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of tiny models: threads would only wait for each other
    processes = min(MOST_PROCESSES, os.cpu_count() or 1)
    python = ensure_environment((TRAINING, OPTIMIZERS, DEVELOPMENT))
    arguments = sys.argv[1:]
    failed = [] if arguments else [check for check in CHECKS if run(python, *check)]
    if run(python, "-m", "pytest", "-n", processes, "--dist", "worksteal", *arguments):
        failed.append(("pytest",))
    for check in failed:
        print(f"Failed: {' '.join(check)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
