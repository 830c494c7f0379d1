"""Trains the demo concept once with every kind of network, and shows what each learned.

    python examples/compare_networks.py [KIND ...]

Writes to output/networks: the networks, a table (Markdown) with the loss on pictures that were not trained on, and a
sheet with the same prompts drawn with each. Takes about two minutes for each kind on two CPU cores; networks that
are there already are not trained again.
"""

import argparse
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
ROOT = EXAMPLES.parent
sys.path[:0] = [str(ROOT), str(EXAMPLES / "demo_lora")]

from measure_heldout_loss import heldout_losses  # noqa: E402
from safetensors import safe_open  # noqa: E402

from library.sampling.contact_sheet import Preview, draw_contact_sheet, find_previews, previews_of_run  # noqa: E402
from library.sampling.prompt_files import read_prompt_file  # noqa: E402

CONFIG = EXAMPLES / "demo_lora" / "config.toml"
PROMPTS = EXAMPLES / "demo_lora" / "prompts.txt"
STEPS = 100


@dataclass(frozen=True)
class Recipe:
    """A kind of network and settings that suit it."""

    name: str
    module: str
    rank: int = 16
    alpha: float = 16
    arguments: tuple[str, ...] = ()
    learning_rate: float = 2e-3
    """of the U-Net; the text encoder gets a tenth, as in the demo"""

    def command(self, output: Path) -> list[str]:
        words = [
            sys.executable, "train_network.py", "--config_file", CONFIG, "--output_dir", output,
            "--output_name", self.name, "--network_module", self.module,
            "--network_dim", self.rank, "--network_alpha", self.alpha,
            "--learning_rate", self.learning_rate, "--text_encoder_lr", self.learning_rate / 10,
            "--max_train_steps", STEPS, "--sample_every_n_steps", STEPS, "--no_sample_at_first",
            "--save_precision", "float",
        ]  # fmt: skip
        if self.arguments:
            words += ["--network_args", *self.arguments]
        return [str(word) for word in words]


RECIPES = (
    Recipe("lora", "networks.lora"),
    Recipe("locon", "networks.lora", arguments=("conv_dim=8", "conv_alpha=8")),
    Recipe("rslora", "networks.lora", alpha=4, arguments=("rs_lora=True",)),
    Recipe("loraplus", "networks.lora", arguments=("loraplus_lr_ratio=4",), learning_rate=1e-3),
    Recipe("pissa", "networks.lora", arguments=("init=pissa",), learning_rate=1e-3),
    Recipe("dora", "networks.dora"),
    Recipe("lora_fa", "networks.lora_fa"),
    Recipe("dylora", "networks.dylora", arguments=("unit=4",)),
    Recipe("loha", "networks.loha", rank=8, alpha=8),
    Recipe("lokr", "networks.lokr", rank=8, alpha=8, arguments=("factor=4",)),
    Recipe("glora", "networks.glora", rank=8, alpha=8, learning_rate=1e-3),
    Recipe("ia3", "networks.ia3", learning_rate=2e-2),
    Recipe("oft", "networks.oft", rank=4, alpha=0, arguments=("enable_all_linear=True",), learning_rate=5e-4),
    Recipe("boft", "networks.boft", rank=8, alpha=0, learning_rate=5e-4),
    Recipe("full", "networks.full", learning_rate=1e-4),
)


@dataclass(frozen=True)
class Result:
    recipe: Recipe
    heldout_loss: float
    base_loss: float
    numbers: int
    """in the file"""


def measure(recipe: Recipe, output: Path) -> Result:
    """Trains a network unless it is there."""
    file = output / f"{recipe.name}.safetensors"
    if not file.is_file():
        subprocess.run(recipe.command(output), cwd=ROOT, check=True)
    before, after = heldout_losses(file)
    with safe_open(file, "pt") as opened:
        numbers = sum(math.prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118
    return Result(recipe, after, before, numbers)


def as_table(results: Sequence[Result]) -> str:
    lines = [
        "| Kind | `--network_module` | rank, alpha, `--network_args` | rate | numbers | held-out loss | fall |",
        "|---|---|---|---|---|---|---|",
        f"| base model | | | | | {results[0].base_loss:.4f} | |",
    ]
    for result in results:
        recipe = result.recipe
        settings = ", ".join([str(recipe.rank), f"{recipe.alpha:g}", *(f"`{word}`" for word in recipe.arguments)])
        fall = 1 - result.heldout_loss / result.base_loss
        lines.append(
            f"| {recipe.name} | `{recipe.module}` | {settings} | {recipe.learning_rate:g} | {result.numbers:,} "
            f"| {result.heldout_loss:.4f} | {fall:.0%} |"
        )
    return "\n".join(lines) + "\n"


def last_previews(folder: Path, recipe: Recipe) -> list[Preview]:
    previews = previews_of_run(find_previews(folder), recipe.name)
    return [preview for preview in previews if preview.moment == previews[-1].moment]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(each.name for each in RECIPES)}")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "output" / "networks", help="where the results go")
    options = parser.parse_args()
    unknown = set(options.kinds) - {recipe.name for recipe in RECIPES}
    if unknown:
        parser.error(f"there is no kind {', '.join(sorted(unknown))}")
    output = options.output_dir.resolve()
    results = [measure(recipe, output) for recipe in RECIPES if not options.kinds or recipe.name in options.kinds]
    (output / "networks.md").write_text(as_table(results), encoding="utf-8")
    prompts = {prompt["enum"]: prompt["prompt"] for prompt in read_prompt_file(PROMPTS)}
    columns = {result.recipe.name: last_previews(output / "sample", result.recipe) for result in results}
    draw_contact_sheet(columns, prompts).save(output / "networks.png")
    print(f"Table: {output / 'networks.md'}\nSheet: {output / 'networks.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
