"""Reads the golden tables from the folder that GOLDEN_DIR names, else from the copies beside this file."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

FOLDER = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "tables")


def table(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def tensors(name: str) -> dict[str, torch.Tensor]:
    return load_file(FOLDER / f"{name}.safetensors")


def numbered(cases: list[Any], key: str | None = None) -> list[tuple[str, Any]]:
    """(test id, case) for parametrize."""
    return [(str(case[key]) if key else str(number), case) for number, case in enumerate(cases)]
