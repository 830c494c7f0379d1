"""Draws the shapes of all learning-rate schedules for docs/schedules.md.

python examples/draw_schedules.py [PICTURE]
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from PIL import Image  # noqa: E402

from library.optimizers.schedule import build_schedule  # noqa: E402
from library.options.groups import ScheduleOptions  # noqa: E402
from library.training.planning.line_chart import Line, LineChart, draw_chart  # noqa: E402

STEPS = 1000
WARMUP = 100
COLUMNS = 3
WIDTH, HEIGHT = 460, 230
"""Pixels of one chart."""

CHARTS: tuple[tuple[str, dict[str, ScheduleOptions]], ...] = (
    ("constant_with_warmup", {"": ScheduleOptions(lr_scheduler="constant_with_warmup", lr_warmup_steps=WARMUP)}),
    ("linear", {"": ScheduleOptions(lr_scheduler="linear", lr_warmup_steps=WARMUP)}),
    ("cosine", {"": ScheduleOptions(lr_scheduler="cosine", lr_warmup_steps=WARMUP)}),
    (
        "cosine_with_restarts",
        {"3 cycles": ScheduleOptions(lr_scheduler="cosine_with_restarts", lr_scheduler_num_cycles=3)},
    ),
    (
        "cosine_with_min_lr",
        {"ratio 0.1": ScheduleOptions(
            lr_scheduler="cosine_with_min_lr", lr_warmup_steps=WARMUP, lr_scheduler_min_lr_ratio=0.1
        )},
    ),
    (
        "polynomial",
        {
            f"power {power:g}": ScheduleOptions(lr_scheduler="polynomial", lr_scheduler_power=power)
            for power in (0.5, 1, 2)
        },
    ),
    (
        "rex",
        {
            f"ratio {ratio:g}": ScheduleOptions(
                lr_scheduler="rex", lr_warmup_steps=WARMUP, lr_scheduler_min_lr_ratio=ratio
            )
            for ratio in (0, 0.2)
        },
    ),
    (
        "inverse_sqrt",
        {
            f"time scale {timescale}": ScheduleOptions(
                lr_scheduler="inverse_sqrt", lr_warmup_steps=WARMUP, lr_scheduler_timescale=timescale
            )
            for timescale in (100, 500)
        },
    ),
    (
        "warmup_stable_decay",
        {"decay 30%": ScheduleOptions(
            lr_scheduler="warmup_stable_decay", lr_warmup_steps=WARMUP, lr_decay_steps=0.3
        )},
    ),
    (
        "piecewise_constant",
        {"1:500,0.5:800,0.1": ScheduleOptions(
            lr_scheduler="piecewise_constant", lr_scheduler_args=("step_rules=1:500,0.5:800,0.1",)
        )},
    ),
    (
        "OneCycleLR",
        {"total_steps=1000": ScheduleOptions(
            lr_scheduler_type="OneCycleLR", lr_scheduler_args=("max_lr=1.0", f"total_steps={STEPS}")
        )},
    ),
    (
        "CosineAnnealingWarmRestarts",
        {"T_0=140 T_mult=2": ScheduleOptions(
            lr_scheduler_type="CosineAnnealingWarmRestarts", lr_scheduler_args=("T_0=140", "T_mult=2")
        )},
    ),
)  # fmt: skip


def rates(options: ScheduleOptions) -> list[float]:
    """Those of a run, by the very schedule that training takes."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(options, optimizer, STEPS)
    optimizer.step()
    found = []
    for _ in range(STEPS):
        found.append(float(optimizer.param_groups[0]["lr"]))
        schedule.step()
    return found


def draw() -> Image.Image:
    rows = -(-len(CHARTS) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * WIDTH, rows * HEIGHT), "white")
    for number, (title, schedules) in enumerate(CHARTS):
        lines = tuple(Line(label, range(1, STEPS + 1), rates(options)) for label, options in schedules.items())
        row, column = divmod(number, COLUMNS)
        sheet.paste(draw_chart(LineChart(title, STEPS, lines), WIDTH, HEIGHT), (column * WIDTH, row * HEIGHT))
    return sheet.quantize(256, Image.Quantize.MAXCOVERAGE)


if __name__ == "__main__":
    draw().save(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "images" / "schedules.png", optimize=True)
