"""Runs the training command in this process, as a user would type it."""

from pathlib import Path

from library.models.family import SD1, SD2, SDXL
from library.training.command import run_training_command


def train(*arguments: str | Path) -> int:
    """Runs train_network.py. Returns the exit code."""
    return run_training_command("train_network.py", "", (SD1, SD2), [str(argument) for argument in arguments])


def train_sdxl(*arguments: str | Path) -> int:
    """Runs sdxl_train_network.py. Returns the exit code."""
    return run_training_command("sdxl_train_network.py", "", (SDXL,), [str(argument) for argument in arguments])


def least_arguments(model: Path, train_data_dir: Path, output_dir: Path) -> dict[str, str]:
    """A complete command line of a few quick steps, as option -> value."""
    return {
        "--pretrained_model_name_or_path": str(model),
        "--train_data_dir": str(train_data_dir),
        "--output_dir": str(output_dir),
        "--output_name": "tiny",
        "--resolution": "64",
        "--network_module": "networks.lora",
        "--caption_extension": ".txt",
        "--max_train_steps": "4",
        "--learning_rate": "1e-2",
        "--seed": "42",
        "--max_data_loader_n_workers": "0",
    }


def as_words(arguments: dict[str, str | None]) -> list[str]:
    """Option -> value (None = a switch) as a command line."""
    return [word for option, value in arguments.items() for word in ((option,) if value is None else (option, value))]
