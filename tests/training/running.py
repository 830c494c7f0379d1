"""Runs of tiny models, and what they leave behind."""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.command import as_words, train, train_sdxl


def run(arguments, train=train, **changes) -> Path:
    """Trains; returns the final file. Keyword arguments are options; True = a switch, a list = several values."""
    words = as_words(arguments)
    for name, value in changes.items():
        values = value if isinstance(value, list) else [] if value is True else [value]
        words += [f"--{name}", *map(str, values)]
    assert train(*words) == 0
    output_dir = changes.get("output_dir", arguments["--output_dir"])
    return Path(output_dir) / "tiny.safetensors"


def run_sdxl(arguments, **changes) -> Path:
    return run(arguments, train=train_sdxl, **changes)


def assert_same_weights(first: Path, second: Path, tolerance: float = 0.0) -> None:
    weights, others = load_file(first), load_file(second)
    assert weights.keys() == others.keys()
    assert len(weights) > 100
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, others[name], rtol=tolerance, atol=tolerance)


def have_different_weights(first: Path, second: Path) -> bool:
    weights, others = load_file(first), load_file(second)
    assert weights.keys() == others.keys()
    return any(not torch.equal(tensor, others[name]) for name, tensor in weights.items())


def metadata_of(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as opened:
        return opened.metadata()


def logged(folder: Path, name: str) -> list[float]:
    (file,) = [path for path in folder.rglob("events.out.tfevents.*") if path.parent.name == "network_train"]
    log = EventAccumulator(str(file), size_guidance={"scalars": 0})
    log.Reload()
    return [event.value for event in log.Scalars(name)]
