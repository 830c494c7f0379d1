"""Tells which images of a training lose more or less than others, from the losses that --log_image_losses keeps.

python tools/image_losses.py output/dog-image-losses.csv
python tools/image_losses.py output/dog-image-losses.csv --output page.html

See docs/loss_report.md.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from library.training.image_loss_report.command import run_image_losses_command

if __name__ == "__main__":
    sys.exit(run_image_losses_command(__doc__ or "", sys.argv[1:]))
