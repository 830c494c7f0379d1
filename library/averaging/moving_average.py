"""Averages of weights that are kept up to date after every optimizer step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from library.averaging.power_profiles import decay_at, exponent_of
from library.averaging.weight_copies import WeightCopies
from library.optimizers.kept_weights import kept

DecayOfUpdate = Callable[[int], float]
"""Number of the update, counted from 1 -> the share of the old average in the new one."""


def exponential(decay: float) -> DecayOfUpdate:
    """The decay of an exponential moving average; smaller in the first updates, so that what the weights were before
    training is forgotten in a short run, too: min(decay, (1 + n) / (10 + n)), as in TensorFlow's
    ExponentialMovingAverage with num_updates."""
    return lambda update: min(decay, (1 + update) / (10 + update))


def power_function(width: float) -> DecayOfUpdate:
    """The decay of an average with a power-function profile of a relative width, sigma_rel; see power_profiles."""
    exponent = exponent_of(width)
    return lambda update: decay_at(update, exponent)


class MovingAverage:
    """One average of all trained weights, in float32, as one flat tensor: one kernel updates it."""

    def __init__(self, start: torch.Tensor, decay: DecayOfUpdate):
        """
        Args:
            start: (numbers,) float32, what the average begins with; from then on its own.
        """
        self.values = start
        self.updates = 0
        self._decay = decay

    def update(self, weights: torch.Tensor) -> None:
        """Takes in the weights after one more step: (numbers,) float32, on the average's device."""
        self.updates += 1
        self.values.lerp_(weights, 1 - self._decay(self.updates))

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values, "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Raises:
            ValueError: it is the state of an average of other weights.
        """
        if state["values"].shape != self.values.shape:
            counts = f"{state['values'].numel()} numbers, but {self.values.numel()}"
            raise ValueError(f"the saved average has {counts} are trained: the network is another one")
        self.values.copy_(state["values"])
        self.updates = state["updates"]


class MovingAverages:
    """All averages of a run over the same parameters, which are looked at once after each step."""

    def __init__(
        self, parameters: Sequence[torch.nn.Parameter], decays: Mapping[str, DecayOfUpdate], on_cpu: bool = False
    ):
        """
        Args:
            parameters: what is averaged; their present values are what the averages begin with.
            decays: of each average, by its name.
            on_cpu: they are kept there, not where the parameters are.
        """
        self._parameters = list(parameters)
        self._copies = WeightCopies(parameters, on_cpu)
        self._averages = {name: MovingAverage(self._copies.now(), decay) for name, decay in decays.items()}

    def after_step(self) -> None:
        """Once after each optimizer step that was not skipped. No device waits: averages on the CPU take in the weights
        of a GPU one step later, when these have long arrived."""
        if self._averages:
            self._finish()
            self._update(self._copies.take())

    def updates(self, name: str) -> int:
        self._finish()
        return self._averages[name].updates

    @contextmanager
    def applied(self, name: str) -> Iterator[None]:
        """Inside, the network holds an average, in the precision of its weights; afterwards exactly what it held."""
        self._finish()
        with kept(self._parameters):
            self._copies.put_back(self._averages[name].values)
            yield

    def state_dict(self) -> dict[str, Any]:
        """Copies, which training does not change."""
        self._finish()
        states = {name: average.state_dict() for name, average in self._averages.items()}
        return {name: state | {"values": state["values"].clone()} for name, state in states.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Raises:
            ValueError: it is the state of other averages.
        """
        if state.keys() != self._averages.keys():
            raise ValueError(f"the saved averages are {sorted(state)}, but {sorted(self._averages)} are kept")
        self._copies.arrived()  # belongs to what is replaced
        for name, average in self._averages.items():
            average.load_state_dict(state[name])

    def _finish(self) -> None:
        """Takes in the step that is still on its way."""
        self._update(self._copies.arrived())

    def _update(self, weights: torch.Tensor | None) -> None:
        if weights is not None:
            for average in self._averages.values():
                average.update(weights)
