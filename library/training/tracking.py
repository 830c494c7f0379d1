"""What goes to TensorBoard."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from accelerate import Accelerator

from library.errors import UserError
from library.optimizers.adapted_rates import AdaptedRate, Scalar
from library.options.groups import LoggingOptions
from library.options.resolution import ResolvedOptions
from library.options.schema import all_options
from library.training.loss_record import StepLoss
from library.training.weight_norms import WeightNorms

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


_DISPLAYED = {"max_norm/keys_scaled": ("keys_scaled", "g"), "norm/avg_key_norm": ("avg_key_norm", ".4f")}
"""Measured values that the progress bar shows: log name -> name there and format."""

_ADAPTED = "lr/d*lr/"


def measured_values(
    descriptions: Sequence[str],
    norms: WeightNorms | None = None,
    adapted_rates: Sequence[AdaptedRate] = (),
    gradient_norm: Scalar | None = None,
) -> dict[str, Scalar]:
    """What is measured at an optimizer step besides the loss, by the names in the log.

    Args:
        descriptions: of the optimizer's groups.
        norms: of the layers' changes, if they are limited.
        adapted_rates: one per group, or empty for optimizers that do not find their rate.
        gradient_norm: of all gradients together, before clipping.
    """
    measured: dict[str, Scalar] = {}
    if norms is not None:
        measured |= {
            "max_norm/keys_scaled": norms.layers_scaled,
            "max_norm/max_key_norm": norms.maximum,
            "norm/avg_key_norm": norms.mean,
        }
    if gradient_norm is not None:
        measured["norm/gradient"] = gradient_norm
    if adapted_rates:
        for name, adapted in zip(descriptions, adapted_rates, strict=True):
            measured |= {f"{_ADAPTED}{name}": adapted.rate, f"lr/d/{name}": adapted.d}
    return measured


def displayed_values(loss: StepLoss, average: float) -> Mapping[str, str]:
    """Those of one optimizer step that the progress bar shows; with --scale_weight_norms, what it did; d*lr of the
    first group if the optimizer finds its rate."""
    shown = {"loss": f"{loss.value:.4f}", "avr_loss": f"{average:.4f}"}
    for name, (short_name, form) in _DISPLAYED.items():
        if name in loss.measured:
            shown[short_name] = format(loss.measured[name], form)
    adapted = next((value for name, value in loss.measured.items() if name.startswith(_ADAPTED)), None)
    return shown if adapted is None else shown | {"d*lr": f"{adapted:.3g}"}


def step_values(loss: StepLoss, average: float, descriptions: Sequence[str]) -> Mapping[str, float]:
    """The values of one optimizer step.

    Args:
        average: of the losses up to now.
        descriptions: of the optimizer's groups.
    """
    rates = {f"lr/{name}": rate for name, rate in zip(descriptions, loss.learning_rates, strict=True)}
    return {"loss/current": loss.value, "loss/average": average} | loss.measured | rates
