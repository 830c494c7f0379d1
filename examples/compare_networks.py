"""Trains the demo concept once with every kind of network, and shows what each learned.

    python examples/compare_networks.py [KIND ...]

Writes to output/networks: the networks, a table (Markdown) with the loss on pictures that were not trained on, and a
sheet with the same prompts drawn with each. Takes about two minutes for each kind on two CPU cores; networks that
are there already are not trained again.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo_training import choose, heldout_losses, train_demo, write_comparison
from safetensors import safe_open


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

    def options(self) -> list[object]:
        words = [
            "--network_module", self.module, "--network_dim", self.rank, "--network_alpha", self.alpha,
            "--learning_rate", self.learning_rate, "--text_encoder_lr", self.learning_rate / 10,
        ]  # fmt: skip
        return [*words, "--network_args", *self.arguments] if self.arguments else words


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
    file = train_demo(recipe.name, recipe.options(), output)
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


def main() -> int:
    names, output = choose(__doc__ or "", "kind", [recipe.name for recipe in RECIPES], "networks")
    results = [measure(recipe, output) for recipe in RECIPES if recipe.name in names]
    write_comparison("networks", as_table(results), names, output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
