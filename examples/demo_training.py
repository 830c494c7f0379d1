"""Trains the demo concept with other options than the demo's, and measures and draws what was learned."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
ROOT = EXAMPLES.parent
sys.path[:0] = [str(ROOT), str(EXAMPLES / "demo_lora")]

from measure_heldout_loss import heldout_losses  # noqa: E402

from library.sampling.contact_sheet import Preview, draw_contact_sheet, find_previews, previews_of_run  # noqa: E402
from library.sampling.prompt_files import read_prompt_file  # noqa: E402

CONFIG = EXAMPLES / "demo_lora" / "config.toml"
PROMPTS = EXAMPLES / "demo_lora" / "prompts.txt"
STEPS = 100

__all__ = ["ROOT", "STEPS", "draw_sheet", "heldout_losses", "train_demo"]


def train_demo(name: str, options: Sequence[object], output: Path) -> Path:
    """Trains for 100 steps unless the network is there already. Returns its file.

    Args:
        name: of the network's file.
        options: words that beat those of the demo's configuration.
    """
    file = output / f"{name}.safetensors"
    words = [
        "train_network.py", "--config_file", CONFIG, "--output_dir", output, "--output_name", name,
        "--max_train_steps", STEPS, "--sample_every_n_steps", STEPS, "--no_sample_at_first",
        "--save_precision", "float", *options,
    ]  # fmt: skip
    if not file.is_file():
        subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, check=True)
    return file


def draw_sheet(names: Mapping[str, str], output: Path, file: Path) -> None:
    """The same prompts drawn with each network.

    Args:
        names: heading of each column -> name of the network.
    """
    prompts = {prompt["enum"]: prompt["prompt"] for prompt in read_prompt_file(PROMPTS)}
    columns = {heading: _last_previews(output / "sample", name) for heading, name in names.items()}
    draw_contact_sheet(columns, prompts).save(file)


def _last_previews(folder: Path, name: str) -> list[Preview]:
    previews = previews_of_run(find_previews(folder), name)
    return [preview for preview in previews if preview.moment == previews[-1].moment]
