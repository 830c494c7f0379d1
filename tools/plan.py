"""Tells what a training would do, without a GPU and without loading a model. See --help and docs/plan.md.

python tools/plan.py train_network.py --config_file dog.toml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from library.training.planning.command import run_plan_command

if __name__ == "__main__":
    sys.exit(run_plan_command(sys.argv[1:]))
