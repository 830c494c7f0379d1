"""Optimizer and learning-rate schedule."""

from typing import ClassVar, Literal

from library.options.declaration import OptionGroup, option
from library.options.option_types import KeyValues, NumberList, StepsOrShare

SCHEDULES_PENDING = ("piecewise_constant", "adafactor")

Schedule = Literal[
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt",
    "cosine_with_min_lr", "warmup_stable_decay", "piecewise_constant", "adafactor",
]  # fmt: skip

OPTIMIZERS = "the remaining optimizers"
SCHEDULES = "schedules by class name"


class OptimizerOptions(OptionGroup):
    title: ClassVar[str] = "Optimizer"

    optimizer_type: str = option(
        "", help="Name of the optimizer, upper or lower case: AdamW (also when empty) or AdamW8bit."
    )
    use_8bit_adam: bool = option(False, help="Old spelling of --optimizer_type AdamW8bit.")
    use_lion_optimizer: bool = option(False, help="Old spelling of --optimizer_type Lion.", pending=OPTIMIZERS)
    optimizer_args: KeyValues | None = option(
        help="Arguments of the optimizer as key=value with Python values, such as weight_decay=0.01 betas=0.9,0.99."
    )
    learning_rate: float = option(2e-6, ge=0, help="Learning rate where no more special one is given.")
    unet_lr: float | None = option(ge=0, help="Learning rate of the U-Net's part; default --learning_rate.")
    text_encoder_lr: NumberList | None = option(
        help="Learning rate of the text encoder's part; default --learning_rate."
    )
    max_grad_norm: float = option(1.0, ge=0, help="Gradients are scaled down to this norm; 0 = never.")
    fused_backward_pass: bool = option(
        False, help="Update each weight during the backward pass, to save memory.", pending=OPTIMIZERS
    )


class ScheduleOptions(OptionGroup):
    title: ClassVar[str] = "Learning-rate schedule"

    lr_scheduler: Schedule = option(
        "constant", help="How the learning rate changes over the run.", pending_choices=SCHEDULES_PENDING
    )
    lr_warmup_steps: StepsOrShare = option(
        0, unit="steps", help="Warm-up in optimizer steps, as a share below 1, or as a percentage such as 10%%."
    )
    lr_decay_steps: StepsOrShare = option(
        0, unit="steps", help="Decay of warmup_stable_decay, written in the same way."
    )
    lr_scheduler_num_cycles: int = option(1, ge=1, help="Cycles of the cosine schedules.")
    lr_scheduler_power: float = option(1, gt=0, help="Exponent of the polynomial schedule.")
    lr_scheduler_timescale: int | None = option(ge=1, unit="steps", help="Time scale of the inverse_sqrt schedule.")
    lr_scheduler_min_lr_ratio: float | None = option(
        ge=0, le=1, help="Lowest rate, as a share of the highest, of cosine_with_min_lr and warmup_stable_decay."
    )
    lr_scheduler_type: str = option("", help="Class name or import path of a schedule.", pending=SCHEDULES)
    lr_scheduler_args: KeyValues | None = option(help="Arguments of that class as key=value.", pending=SCHEDULES)
