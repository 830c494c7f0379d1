"""Checks a dataset for what ruins trainings: broken and duplicate images, wrong captions, masks that do not fit.

python tools/lint_dataset.py FOLDER                       a folder of images, or of folders named REPEATS_CLASS
python tools/lint_dataset.py --dataset_config FILE        what a training would use, with the same options
python tools/lint_dataset.py FOLDER --resolution 1024 --enable_bucket     also checks sizes
python tools/lint_dataset.py FOLDER --fix                 puts right what is safe, with a backup

Exit code: 0 = no errors, 1 = there are some, 2 = the check could not be made. docs/linting.md describes what is found.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from library.linting.command import run_lint_command

if __name__ == "__main__":
    sys.exit(run_lint_command(__doc__ or "", sys.argv[1:]))
