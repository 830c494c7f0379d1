"""Runs all checks and tests in the project's own environment.

    python tests/run.py                 everything that takes less than minutes
    python tests/run.py -m slow         the long tests
    python tests/run.py tests/options   some tests; what follows is handed to pytest

Without arguments the linters, the type checker and the check of the layers run first.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from project_environment import DEVELOPMENT, TRAINING, ensure_environment, run

CHECKS = (
    ("-m", "ruff", "check", "."),
    ("-m", "ruff", "format", "--check", "."),
    ("-m", "mypy"),
    ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"),
)


def main() -> int:
    python = ensure_environment((TRAINING, DEVELOPMENT))
    arguments = sys.argv[1:]
    failed = [] if arguments else [check for check in CHECKS if run(python, *check)]
    if run(python, "-m", "pytest", *arguments):
        failed.append(("pytest",))
    for check in failed:
        print(f"Failed: {' '.join(check)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
