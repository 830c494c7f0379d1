"""Draws the loss curve of the newest run from its TensorBoard log.

python tools/plot_loss.py LOGGING_DIR curve.png
"""

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

LOSS = "loss/current"
SMOOTHING = 0.95
"""Share of the previous value in the smoothed curve."""


def newest_log(folder: Path) -> tuple[Path, EventAccumulator] | None:
    """The newest log with losses in it, or else the newest log; None = there is none.

    All runs but the newest are left out: one without losses is not to be taken for an older one. Beside its losses
    a run may have a log of its options, in a sub-folder."""
    files = sorted(folder.rglob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime, reverse=True)
    of_newest_run = [file for file in files if _run_of(file, folder) == _run_of(files[0], folder)]
    logs = [(file, _read(file)) for file in of_newest_run]
    with_losses = [(file, log) for file, log in logs if LOSS in log.Tags()["scalars"]]
    return next(iter(with_losses or logs), None)


def _run_of(file: Path, folder: Path) -> str:
    """The sub-folder of the logging folder; empty for a log that lies in the folder itself."""
    return "".join(file.relative_to(folder).parts[:-1][:1])


def _read(file: Path) -> EventAccumulator:
    log = EventAccumulator(str(file), size_guidance={"scalars": 0})
    log.Reload()
    return log


def read_losses(log: EventAccumulator) -> tuple[list[int], list[float]]:
    """Steps and losses; empty if the log has none."""
    events = log.Scalars(LOSS) if LOSS in log.Tags()["scalars"] else []
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
    newest = newest_log(options.logging_dir)
    if newest is None:
        print(f"Error: '{options.logging_dir}' holds no TensorBoard log", file=sys.stderr)
        return 1
    file, log = newest
    steps, losses = read_losses(log)
    if not losses:
        print(f"Error: '{file}', the newest log, holds no losses (no '{LOSS}')", file=sys.stderr)
        return 1
    try:
        _draw(steps, losses, options.curve)
    except (OSError, ValueError) as error:
        print(f"Error: '{options.curve}' cannot be written: {error}", file=sys.stderr)
        return 1
    print(f"Wrote {options.curve}, from {file}")
    return 0


def _draw(steps: list[int], losses: list[float], curve: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    axes.plot(steps, losses, color="#b0c4de", linewidth=0.8, label="each step")
    axes.plot(steps, smooth(losses), color="#1f4e9c", linewidth=2, label="smoothed")
    axes.set(xlabel="optimizer step", ylabel="loss", title="Training loss")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(curve, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
