"""Versions of the network's weights that are saved and drawn: as trained, or an average."""

import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from library.averaging.moving_average import MovingAverages, exponential, power_function
from library.averaging.snapshot_facts import TRACKED_WIDTHS, UPDATES_FIELD, SnapshotFacts
from library.options.groups import AveragingOptions
from library.training.file_names import EMA_SUFFIX, width_suffix

_EMA = "ema"


@dataclass(frozen=True)
class WeightVersion:
    suffix: str
    """what is added to the names of its files; empty for the main one"""
    applied: Callable[[], AbstractContextManager[None]]
    """Inside, the network holds this version; afterwards it is as it was, bit by bit."""
    metadata: Callable[[], Mapping[str, str]] = dict
    """what a file says of it, besides what all files say"""


AS_TRAINED = WeightVersion("", nullcontext)


class WeightAverages:
    """All averages that a run keeps; none, where no option asks for any.

    Every process keeps them, since each draws previews; and the weights, and so the averages, are the same in all.
    """

    def __init__(self, network: torch.nn.Module, options: AveragingOptions):
        """
        Args:
            network: on its device and in its precision. Averaged is what is trained of it.
        """
        self._options = options
        self._run = secrets.token_hex(8)
        decays = {} if options.ema_decay is None else {_EMA: exponential(options.ema_decay)}
        if options.ema_snapshots_every_n_steps is not None:
            decays |= {width_suffix(width): power_function(width) for width in TRACKED_WIDTHS}
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._averages = MovingAverages(trained, decays, on_cpu=options.ema_device == "cpu")

    def after_step(self) -> None:
        """Once after each optimizer step that was not skipped, when the weights have their final values."""
        self._averages.after_step()

    @property
    def ema(self) -> WeightVersion | None:
        """That of --ema_decay."""
        if self._options.ema_decay is None:
            return None
        return WeightVersion(EMA_SUFFIX, partial(self._averages.applied, _EMA), self._describe_ema)

    def snapshots(self, step: int) -> list[WeightVersion]:
        """Those of --ema_snapshots_every_n_steps, after a step."""
        every = self._options.ema_snapshots_every_n_steps
        if every is None:
            return []
        versions = []
        for width in TRACKED_WIDTHS:
            name = width_suffix(width)
            facts = SnapshotFacts(self._run, width, self._averages.updates(name), step, every)
            versions.append(WeightVersion(name, partial(self._averages.applied, name), facts.metadata))
        return versions

    def _describe_ema(self) -> dict[str, str]:
        return {"ss_ema_decay": str(self._options.ema_decay), UPDATES_FIELD: str(self._averages.updates(_EMA))}

    def state_dict(self) -> dict[str, Any]:
        return {"run": self._run, "averages": self._averages.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From then on everything is as if training had not stopped.

        Raises:
            ValueError: it is the state of other averages, or of another network.
        """
        self._averages.load_state_dict(state["averages"])
        self._run = state["run"]
