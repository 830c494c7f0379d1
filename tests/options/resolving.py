"""Resolves command lines as the training scripts do."""

from pathlib import Path

from library.options.command_line import build_parser
from library.options.resolution import ResolvedOptions, resolve_options

COMPLETE = {
    "--pretrained_model_name_or_path": "model.safetensors",
    "--train_data_dir": "train",
    "--output_dir": "out",
    "--network_module": "networks.lora",
    "--resolution": "512",
    "--max_train_steps": "100",
}
"""The least that leaves no problem and no warning."""


def resolve(*words: str | Path) -> ResolvedOptions:
    return resolve_options(build_parser("train_network.py", ""), [str(word) for word in words])


def resolve_complete(*words: str | Path, without: tuple[str, ...] = ()) -> ResolvedOptions:
    """A complete command line, less the options in `without`, followed by `words`."""
    least = [word for option, value in COMPLETE.items() if option not in without for word in (option, value)]
    return resolve(*least, *words)


def write_config(folder: Path, text: str, name: str = "meine Einstellungen ü.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path
