"""What goes to TensorBoard."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from accelerate import Accelerator

from library.errors import UserError
from library.options.groups import LoggingOptions
from library.options.resolution import ResolvedOptions
from library.options.schema import all_options
from library.training.loss_record import StepLoss

DEFAULT_TRACKER = "network_train"


def log_folder(options: LoggingOptions, started_at: float) -> Path | None:
    """A folder of its own for each run: LOGGING_DIR / PREFIX and time.

    Raises:
        UserError: the name of the run or of its log would lead to another folder.
    """
    if options.logging_dir is None:
        return None
    stamp = time.strftime("%Y%m%d%H%M%S", time.localtime(started_at))
    name = f"{options.log_prefix or ''}{stamp}"
    problems = [
        f"--{option} '{given}': must be part of a folder's name, without separators (the folder is --logging_dir)"
        for option, given, folder in (
            ("log_prefix", options.log_prefix, name),
            ("log_tracker_name", options.log_tracker_name, options.log_tracker_name or DEFAULT_TRACKER),
        )
        if not _is_folder_name(folder)
    ]
    if problems:
        raise UserError(problems)
    return options.logging_dir / name


def _is_folder_name(name: str) -> bool:
    """Whether it names a folder inside another, not one further away."""
    return PureWindowsPath(name).name == name != ".."


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


def displayed_values(loss: StepLoss, average: float) -> Mapping[str, str]:
    """Those of one optimizer step that the progress bar shows; with --scale_weight_norms, what it did."""
    norms = {}
    if loss.norms is not None:
        norms = {"keys_scaled": f"{loss.norms.layers_scaled:g}", "avg_key_norm": f"{loss.norms.mean:.4f}"}
    return {"loss": f"{loss.value:.4f}", "avr_loss": f"{average:.4f}"} | norms


def step_values(loss: StepLoss, average: float, descriptions: Sequence[str]) -> Mapping[str, float]:
    """The values of one optimizer step.

    Args:
        average: of the losses up to now.
        descriptions: of the optimizer's groups.
    """
    values = {"loss/current": loss.value, "loss/average": average}
    if loss.norms is not None:
        values |= {
            "max_norm/keys_scaled": loss.norms.layers_scaled,
            "max_norm/max_key_norm": loss.norms.maximum,
            "norm/avg_key_norm": loss.norms.mean,
        }
    return values | {f"lr/{name}": rate for name, rate in zip(descriptions, loss.learning_rates, strict=True)}
