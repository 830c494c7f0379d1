"""Finds, makes and scans what --dataset_class names."""

import inspect
from collections.abc import Mapping
from typing import Any

from library.class_paths import describe_error, find_class
from library.dataset.findings import Findings
from library.dataset.records import Dataset
from library.dataset.scanning.custom_dataset import REQUIRED_METHODS, CustomDataset, CustomPictures
from library.dataset.scanning.custom_scan import scan_custom_dataset
from library.errors import UserError
from library.options.dataset_settings import DatasetSettings
from library.options.schema import Settings

_ADVICE = "; see docs/own_dataset_class.md"


def scan_dataset_class(
    path: str, dataset: DatasetSettings, run: Settings, findings: Findings
) -> tuple[Dataset, CustomPictures] | None:
    """The images of a class; None if it cannot be used. What is wrong is added to `findings`."""
    try:
        source = make_dataset(path, {"resolution": dataset.resolution, "seed": run.training.seed})
    except UserError as error:
        findings.problems += error.problems
        return None
    return scan_custom_dataset(source, dataset, run.data.unreadable_images, findings)


def make_dataset(path: str, offers: Mapping[str, Any]) -> CustomDataset:
    """
    Args:
        path: dotted path of the class, the working directory included in what is searched.
        offers: arguments that its constructor may ask for by their names.

    Raises:
        UserError: there is no such class, it lacks methods, or it cannot be made.
    """
    option = f"--dataset_class {path}"
    found = find_class(path, option)
    missing = [name for name in REQUIRED_METHODS if not callable(getattr(found, name, None))]
    if missing:
        raise UserError(f"{option}: it lacks {', '.join(missing)}{_ADVICE}")
    arguments = _arguments(found, option, offers)
    try:
        return found(**arguments)
    except Exception as error:
        raise UserError(f"{option}: making it raised {describe_error(error)}") from error


def _arguments(found: type, option: str, offers: Mapping[str, Any]) -> dict[str, Any]:
    try:
        parameters = tuple(inspect.signature(found).parameters.values())
    except ValueError:  # that of a built-in base class, such as dict, is unknown
        parameters = ()
    named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    needed = [one.name for one in named if one.default is one.empty and one.name not in offers]
    if needed:
        raise UserError(
            f"{option}: its constructor needs {', '.join(needed)}, but only {', '.join(offers)} can be given; give the "
            f"others a default{_ADVICE}"
        )
    return {one.name: offers[one.name] for one in named if one.name in offers}
