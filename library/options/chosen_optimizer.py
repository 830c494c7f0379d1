"""Which optimizer the options name, and how its kind changes what other options mean.

Kinds are known by their class names, wherever the class comes from: libraries name them alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from library.options.groups.optimizer import OptimizerOptions
from library.options.key_value_arguments import parse_arguments

DEFAULT = "AdamW"
OLDER_OPTIONS: Mapping[str, str] = {"use_8bit_adam": "AdamW8bit", "use_lion_optimizer": "Lion"}
"""Switches of former times -> the --optimizer_type that they mean."""


@dataclass(frozen=True)
class ChosenOptimizer:
    options: OptimizerOptions

    @cached_property
    def option(self) -> str:
        """The option that names it."""
        return next((option for option in OLDER_OPTIONS if getattr(self.options, option)), "optimizer_type")

    @cached_property
    def name(self) -> str:
        """A name such as AdamW in upper or lower case, or the import path of a class."""
        return OLDER_OPTIONS.get(self.option) or self.options.optimizer_type.strip() or DEFAULT

    @property
    def named(self) -> str:
        """The option that names it, and its value if that is said."""
        return f"--{self.option}" + (f" {self.name}" if self.option == "optimizer_type" else "")

    @cached_property
    def class_name(self) -> str:
        """In lower case, without what stands before it in an import path."""
        return self.name.rpartition(".")[2].lower()

    @cached_property
    def arguments(self) -> dict[str, Any]:
        return parse_arguments(self.options.optimizer_args or ())

    @property
    def is_schedule_free(self) -> bool:
        """Averages its weights in place of a schedule (Defazio et al. 2024, arXiv 2405.15682)."""
        return "schedulefree" in self.class_name and self.arguments.get("use_schedulefree", True) is not False

    @property
    def finds_rate(self) -> bool:
        """Multiplies the learning rate by a factor d that it estimates (arXiv 2301.07733 and 2306.06101)."""
        return self.class_name.startswith(("dadapt", "prodigy"))

    @property
    def has_one_rate(self) -> bool:
        """Finds one factor for everything, and cannot train parts at different rates."""
        return self.finds_rate and "schedulefree" not in self.class_name

    @property
    def is_adafactor(self) -> bool:
        """That of transformers."""
        return self.class_name == "adafactor" and self.name.partition(".")[0].lower() in ("adafactor", "transformers")

    @property
    def steps_relatively(self) -> bool:
        """Its step size is a function of time, whatever the learning rate is (Shazeer and Stern 2018, section 8)."""
        return self.is_adafactor and (self.arguments.get("relative_step", True) is not False or self.begins_small)

    @property
    def begins_small(self) -> bool:
        """Whether an Adafactor with relative steps warms up by itself."""
        return self.arguments.get("warmup_init", False) is True

    @property
    def has_own_schedule(self) -> bool:
        """--lr_scheduler and what belongs to it have no effect."""
        return self.is_schedule_free or self.steps_relatively
