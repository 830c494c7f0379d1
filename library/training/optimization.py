"""One optimizer step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer

from library.dataset.batches.training_batch import TrainingBatch
from library.models.adapter import ModelAdapter
from library.optimizers.adapted_rates import AdaptedRate, adapted_rates
from library.optimizers.gradient_averaging import average_gradients
from library.optimizers.gradient_clipping import clip_gradients
from library.randomness import derive_seed
from library.training.network_strength import working_at
from library.training.objective import BatchLosses, Objective
from library.training.weight_norms import WeightNorms


def accumulation_windows(batches: Iterator[TrainingBatch], size: int) -> Iterator[list[TrainingBatch]]:
    """Groups of `size` batches; the last one of an epoch may be smaller."""
    while window := list(islice(batches, size)):
        yield window


@dataclass(frozen=True)
class StepResult:
    """What came of a step. Tensors are still on the device."""

    losses: tuple[BatchLosses, ...]
    """of this process's batches, without gradients"""
    learning_rates: tuple[float, ...]
    """that the step was taken with, one per optimizer group"""
    adapted_rates: tuple[AdaptedRate, ...]
    """one per group if the optimizer finds them itself, else none"""
    gradient_norm: torch.Tensor | None
    """of all gradients together, before they were limited; None = they are not"""
    norms: WeightNorms | None
    """of the layers' changes after the step, if they are limited and the step was not skipped"""

    @property
    def loss(self) -> torch.Tensor:
        """Mean over this process's batches, a scalar."""
        return torch.stack([losses.weighted.mean() for losses in self.losses]).mean()


@dataclass(frozen=True)
class OptimizerStep:
    """Moves the network once, by the mean gradient of a window of batches over all processes."""

    accelerator: Accelerator
    model: ModelAdapter
    network: Any
    objective: Objective
    optimizer: AcceleratedOptimizer
    schedule: Any
    max_grad_norm: float
    """0 = gradients are not limited"""
    seed: int
    before_batch: Callable[[], None]
    """What the network wants to be told before each batch."""
    after_update: Callable[[], None]
    """What is to be done when the weights have moved and have their final values."""
    max_weight_norm: float | None = None
    """of each layer's change; None = not limited"""

    def run(self, window: Sequence[TrainingBatch], step: int) -> StepResult:
        """
        Args:
            step: number of this step, the same in all processes; seeds optimizers that draw at random themselves.
        """
        losses = tuple(self._compute_gradients(batch, len(window)) for batch in window)
        gradient_norm = self._combine_gradients()
        learning_rates = tuple(group["lr"] for group in self.optimizer.param_groups)
        torch.manual_seed(derive_seed(self.seed, "optimizer", step))
        self.optimizer.step()
        adapted = adapted_rates(self.optimizer)
        norms = None
        if not self.accelerator.optimizer_step_was_skipped:  # as fp16 does when a gradient is not finite
            self.schedule.step()
            norms = self._limit_weight_norms()
            self.after_update()
        self.optimizer.zero_grad(set_to_none=True)
        return StepResult(losses, learning_rates, adapted, gradient_norm, norms)

    def _compute_gradients(self, batch: TrainingBatch, window_size: int) -> BatchLosses:
        self.before_batch()
        with working_at(batch.network_multiplier, self.network):
            losses = self._losses(batch)
            self.accelerator.backward(losses.weighted.mean() / window_size)
        return losses.detach()

    def _losses(self, batch: TrainingBatch) -> BatchLosses:
        """The network's dropouts are seeded by the batch, so that they do not depend on how batches are spread
        over accumulation windows and processes."""
        torch.manual_seed(derive_seed(self.seed, "network dropout", batch.index))
        with self.accelerator.autocast():
            return self.objective.losses(self.model, batch.to(self.accelerator.device))

    def _combine_gradients(self) -> torch.Tensor | None:
        """Over processes, then limits them. The network is not wrapped for this: its forward passes happen inside the
        model's layers, where a wrapper would not see them. Returns their norm if it is known."""
        if self.accelerator.num_processes > 1:
            average_gradients(self._parameters, partial(self.accelerator.reduce, reduction="mean"))
        if not self.max_grad_norm:
            return None
        self.accelerator.unscale_gradients()
        return clip_gradients(self.optimizer.optimizer, self.max_grad_norm)

    def _limit_weight_norms(self) -> WeightNorms | None:
        if self.max_weight_norm is None:
            return None
        return WeightNorms(*self.network.apply_max_norm_regularization(self.max_weight_norm, self.accelerator.device))

    @cached_property
    def _parameters(self) -> list[torch.nn.Parameter]:
        """What is trained; the same over the whole run, and in all processes."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
