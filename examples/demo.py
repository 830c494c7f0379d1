"""Trains the demo LoRA and shows what it learned. Needs nothing but Python 3.11 or newer.

    python examples/demo.py

Creates the project's environment when it is missing, trains a small LoRA on the model in
examples/demo_model (about three minutes on two CPU cores), and writes the loss curve and a sheet of previews
before and after.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
ROOT = EXAMPLES.parent
sys.path.insert(0, str(ROOT / "tools"))

from project_environment import TRAINING, ensure_environment, run  # noqa: E402

CONFIG = EXAMPLES / "demo_lora" / "config.toml"
PROMPTS = EXAMPLES / "demo_lora" / "prompts.txt"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=ROOT / "output" / "demo", help="where the results go")
    parser.add_argument("--no_show", action="store_true", help="do not open the pictures")
    options = parser.parse_args()
    output = options.output_dir.resolve()
    python = ensure_environment((TRAINING,))
    started = time.monotonic()
    places = ("--output_dir", output, "--logging_dir", output / "logs")
    if run(python, "train_network.py", "--config_file", CONFIG, *places):
        return 1
    curve, sheet = output / "loss_curve.png", output / "before_and_after.png"
    failed = run(python, "tools/plot_loss.py", output / "logs", curve)
    failed |= run(
        python, "tools/contact_sheet.py", output / "sample", sheet, "--sample_prompts", PROMPTS, "--first_and_last"
    )
    print(f"\nTrained, previewed and drawn in {time.monotonic() - started:.0f} seconds.")
    print(f"The LoRA:          {output / 'demo.safetensors'}")
    print(f"Loss curve:        {curve}")
    print(f"Before and after:  {sheet}")
    if not options.no_show and not failed:
        show(curve)
        show(sheet)
    return failed


def show(picture: Path) -> None:
    """Opens a picture in the desktop's viewer, if there is a desktop."""
    if sys.platform == "win32":
        os.startfile(picture)
    elif sys.platform == "darwin":
        subprocess.run(["open", str(picture)], check=False)
    elif os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        subprocess.run(["xdg-open", str(picture)], check=False, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
