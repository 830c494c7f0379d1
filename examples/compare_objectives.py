"""Trains the demo concept once with each of some objectives and optimizers, and shows what each learned.

    python examples/compare_objectives.py [SETTING ...]

Writes to output/objectives: the networks, a table (Markdown) with the loss on pictures that were not trained on, and a
sheet with the same prompts drawn with each. Every setting takes the same 100 steps over the same pictures; the loss on
other pictures is measured in the same way for all of them (plain noise, all timesteps alike, mean squared error). Takes
about two minutes for each setting on two CPU cores; networks that are there already are not trained again.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo_training import choose, heldout_losses, train_demo, write_comparison


@dataclass(frozen=True)
class Setting:
    name: str
    options: str
    """on top of the plain ones"""
    suffix: str = ""
    """of the file that is measured, where a run saves more than one"""


PLAIN = "--noise_offset 0"
"""The demo's own configuration (AdamW, mean squared error) but for its noise offset."""

SETTINGS = (
    Setting("plain", ""),
    Setting("other_seed", "--seed 43"),  # what differs by less than this one means nothing
    Setting("noise_offset", "--noise_offset 0.1"),
    Setting("multires", "--multires_noise_iterations 6 --multires_noise_discount 0.3"),
    Setting("input_noise", "--ip_noise_gamma 0.1"),
    Setting("logit_normal", "--timestep_sampling logit_normal"),
    Setting("stratified", "--stratified_timesteps"),
    Setting("min_snr", "--min_snr_gamma 5"),
    Setting("debiased", "--debiased_estimation_loss"),
    Setting("huber", "--loss_type huber"),
    Setting("ema", "--ema_decay 0.99 --sample_with_ema", suffix="-ema"),
    Setting("lion", "--optimizer_type Lion --learning_rate 3e-4 --text_encoder_lr 3e-5"),
    Setting("prodigy", "--optimizer_type Prodigy --learning_rate 1 --text_encoder_lr 1 --lr_warmup_steps 0"),
    Setting(
        "adafactor",
        "--optimizer_type Adafactor --optimizer_args relative_step=False scale_parameter=False warmup_init=False "
        "--max_grad_norm 0",
    ),
    Setting(
        "schedule_free",
        "--optimizer_type AdamWScheduleFree --optimizer_args warmup_steps=10 --lr_scheduler constant "
        "--lr_warmup_steps 0",
    ),
)


@dataclass(frozen=True)
class Result:
    setting: Setting
    heldout_loss: float
    base_loss: float


def measure(setting: Setting, output: Path) -> Result:
    """Trains a network unless it is there."""
    file = train_demo(setting.name, [*PLAIN.split(), *setting.options.split()], output)
    before, after = heldout_losses(file.with_stem(file.stem + setting.suffix))
    return Result(setting, after, before)


def as_table(results: Sequence[Result]) -> str:
    lines = [
        "| Setting | options | held-out loss | fall |",
        "|---|---|---|---|",
        f"| base model | | {results[0].base_loss:.4f} | |",
    ]
    for result in results:
        options = f"`{result.setting.options}`" if result.setting.options else "AdamW, mean squared error"
        fall = 1 - result.heldout_loss / result.base_loss
        lines.append(f"| {result.setting.name} | {options} | {result.heldout_loss:.4f} | {fall:.0%} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    names, output = choose(__doc__ or "", "setting", [setting.name for setting in SETTINGS], "objectives")
    results = [measure(setting, output) for setting in SETTINGS if setting.name in names]
    write_comparison("objectives", as_table(results), names, output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
