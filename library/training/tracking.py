"""What goes to TensorBoard."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from library.options.groups import LoggingOptions
from library.options.resolution import ResolvedOptions
from library.options.schema import all_options

DEFAULT_TRACKER = "network_train"


def log_folder(options: LoggingOptions, started_at: float) -> Path | None:
    """A folder of its own for each run: LOGGING_DIR / PREFIX and time."""
    if options.logging_dir is None:
        return None
    stamp = time.strftime("%Y%m%d%H%M%S", time.localtime(started_at))
    return options.logging_dir / f"{options.log_prefix or ''}{stamp}"


def start_tracking(accelerator: Accelerator, resolved: ResolvedOptions) -> None:
    """Opens the log if there is one (the accelerator knows); logs the options if asked to."""
    options = resolved.settings.logging
    if options.logging_dir is None:
        return
    config = _loggable(resolved) if options.log_config else {}
    accelerator.init_trackers(options.log_tracker_name or DEFAULT_TRACKER, config=config)


def _loggable(resolved: ResolvedOptions) -> dict[str, Any]:
    """Options that differ from their defaults, without secrets and paths, as simple values."""
    return {
        name: value if isinstance(value, (int, float, str, bool)) else str(value)
        for name, value in resolved.changed().items()
        if not all_options()[name].traits.secret and not isinstance(value, Path)
    }


def step_values(
    loss: float, average: float, rates: Sequence[float], descriptions: Sequence[str]
) -> Mapping[str, float]:
    """The values of one optimizer step."""
    values = {"loss/current": loss, "loss/average": average}
    return values | {f"lr/{name}": rate for name, rate in zip(descriptions, rates, strict=True)}
