"""Trains the demo concept with other options than the demo's, and measures and draws what was learned."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
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

__all__ = ["choose", "heldout_losses", "train_demo", "write_comparison"]


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


def choose(description: str, what: str, names: Sequence[str], folder: str) -> tuple[list[str], Path]:
    """What the command line asks to compare, and the folder for it.

    Args:
        what: is compared, for the help.
        names: of everything that can be compared.
        folder: default, in the project's output folder.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar=what.upper(), help=f"of {', '.join(names)}")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "output" / folder, help="where the results go")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(names))
    if unknown:
        parser.error(f"there is no {what} {', '.join(unknown)}; there are {', '.join(names)}")
    return [name for name in names if not options.names or name in options.names], options.output_dir.resolve()


def write_comparison(title: str, table: str, names: Sequence[str], output: Path) -> None:
    """The table, and a sheet with the same prompts drawn with each network.

    Args:
        title: what both files are called.
        names: of the networks.
    """
    prompts = {prompt["enum"]: prompt["prompt"] for prompt in read_prompt_file(PROMPTS)}
    columns = {name: _last_previews(output / "sample", name) for name in names}
    (output / f"{title}.md").write_text(table, encoding="utf-8")
    draw_contact_sheet(columns, prompts).save(output / f"{title}.png")
    print(f"Table: {output / f'{title}.md'}\nSheet: {output / f'{title}.png'}")


def _last_previews(folder: Path, name: str) -> list[Preview]:
    previews = previews_of_run(find_previews(folder), name)
    return [preview for preview in previews if preview.moment == previews[-1].moment]
