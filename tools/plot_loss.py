"""Draws the loss curve of a run from its TensorBoard log.

python tools/plot_loss.py LOGGING_DIR curve.png
"""

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SMOOTHING = 0.95
"""Share of the previous value in the smoothed curve."""


def newest_event_file(folder: Path) -> Path | None:
    files = sorted(folder.rglob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime)
    with_values = [path for path in files if path.parent.name == "network_train" or path.parent == folder]
    return (with_values or files or [None])[-1]


def read_losses(file: Path) -> tuple[list[int], list[float]]:
    """Steps and losses."""
    log = EventAccumulator(str(file), size_guidance={"scalars": 0})
    log.Reload()
    events = log.Scalars("loss/current")
    return [event.step for event in events], [event.value for event in events]


def smooth(values: list[float]) -> list[float]:
    """Exponential moving average without the bias of its start."""
    smoothed, average, weight = [], 0.0, 0.0
    for value in values:
        average = SMOOTHING * average + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        smoothed.append(average / weight)
    return smoothed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "logging_dir", type=Path, help="folder given to training as --logging_dir; the newest run counts"
    )
    parser.add_argument("curve", type=Path, help="PNG file to write")
    options = parser.parse_args()
    file = newest_event_file(options.logging_dir)
    if file is None:
        print(f"Error: '{options.logging_dir}' holds no TensorBoard log", file=sys.stderr)
        return 1
    steps, losses = read_losses(file)
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    axes.plot(steps, losses, color="#b0c4de", linewidth=0.8, label="each step")
    axes.plot(steps, smooth(losses), color="#1f4e9c", linewidth=2, label="smoothed")
    axes.set(xlabel="optimizer step", ylabel="loss", title="Training loss")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(options.curve, dpi=120)
    print(f"Wrote {options.curve}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
