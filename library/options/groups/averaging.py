"""Averages of the weights that training goes through."""

from typing import ClassVar, Literal

from library.options.declaration import OptionGroup, option


class AveragingOptions(OptionGroup):
    title: ClassVar[str] = "Weight averaging"

    ema_decay: float | None = option(
        gt=0,
        lt=1,
        help="Keep an exponential moving average of the network and save it beside every file, as NAME-ema: the share "
        "of the old average after each step, such as 0.99 or 0.999 (about the last 100 or 1000 steps count).",
    )
    ema_device: Literal["device", "cpu"] = option(
        "device", help="Where averages are kept: on the training device, or in main memory, without waiting for it."
    )
    sample_with_ema: bool = option(False, help="Draw previews with the average of --ema_decay.")
    ema_snapshots_every_n_steps: int | None = option(
        ge=1,
        unit="steps",
        help="Also save small snapshots of two averages after every n-th step and at the end, from which "
        "tools/synthesize_ema.py makes averages of any length after training; 20 to 100 in a run are enough.",
    )

    @property
    def is_used(self) -> bool:
        """Whether anything is averaged."""
        return self.ema_decay is not None or self.ema_snapshots_every_n_steps is not None
