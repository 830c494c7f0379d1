"""Optimizer and learning-rate schedule."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import WrapValidator

from library.options.declaration import OptionGroup, option
from library.options.option_types import KeyValues, NumberList, StepsOrShare

Schedule = Literal[
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt",
    "cosine_with_min_lr", "warmup_stable_decay", "piecewise_constant", "adafactor", "rex",
]  # fmt: skip
"""adafactor may be followed by a colon and a learning rate, as elsewhere."""

FOLLOWS_A_LOSS = "it follows a loss that is measured now and then, but a schedule here knows nothing but the step"
"""Why a schedule such as ReduceLROnPlateau cannot be used."""


class OptimizerOptions(OptionGroup):
    title: ClassVar[str] = "Optimizer"

    optimizer_type: str = option(
        "",
        help="Name of the optimizer, upper or lower case, such as AdamW (also when empty), AdamW8bit, Prodigy or "
        "Adafactor, or the import path of a class; docs/optimizers.md lists them.",
    )
    use_8bit_adam: bool = option(False, help="Old spelling of --optimizer_type AdamW8bit.")
    use_lion_optimizer: bool = option(False, help="Old spelling of --optimizer_type Lion.")
    optimizer_args: KeyValues | None = option(
        help="Arguments of the optimizer as key=value with Python values, such as weight_decay=0.01 betas=0.9,0.99."
    )
    learning_rate: float = option(
        2e-6, ge=0, help="Learning rate where no more special one is given; 1.0 for optimizers that find it."
    )
    unet_lr: float | None = option(
        ge=0, help="Learning rate of the U-Net's part; default --learning_rate; 0 = leave that part out."
    )
    text_encoder_lr: NumberList | None = option(
        help="Learning rate of the text encoder's part, for SDXL one for both or one for each; "
        "default --learning_rate; 0 = leave that part out."
    )
    max_grad_norm: float = option(1.0, ge=0, help="Gradients are scaled down to this norm; 0 = never.")
    fused_backward_pass: bool = option(
        False,
        help="Update each weight during the backward pass, as soon as its gradient is there, to save memory; needs "
        "--max_grad_norm 0.",
    )


def _allow_an_initial_rate(value: Any, check: Callable[[Any], Any]) -> Any:
    """adafactor:1e-3 beside the choices."""
    if value == "reduce_lr_on_plateau":
        raise ValueError(f"{FOLLOWS_A_LOSS}; use another, such as cosine")
    name, colon, rate = value.partition(":") if isinstance(value, str) else (value, "", "")
    if name == "adafactor" and colon:
        try:
            float(rate)
        except ValueError:
            return check(value)
        return value
    return check(value)


class ScheduleOptions(OptionGroup):
    title: ClassVar[str] = "Learning-rate schedule"

    lr_scheduler: Annotated[Schedule, WrapValidator(_allow_an_initial_rate)] = option(
        "constant", help="How the learning rate changes over the run."
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
        ge=0, le=1, help="Lowest rate, as a share of the highest, of cosine_with_min_lr, warmup_stable_decay and rex."
    )
    lr_scheduler_type: str = option(
        "", help="Instead of --lr_scheduler, a class of torch.optim.lr_scheduler, or any other by its import path."
    )
    lr_scheduler_args: KeyValues | None = option(
        help="Arguments of that class as key=value with Python values, such as step_size=500 gamma=0.5; or "
        "step_rules=1:500,0.1:800,0.01 of piecewise_constant: shares of the rate and the steps at which they end."
    )

    @property
    def name(self) -> str:
        """of --lr_scheduler, without a rate behind it"""
        return self.lr_scheduler.partition(":")[0]
