"""One optimizer step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator

from library.dataset.batches.training_batch import TrainingBatch
from library.models.adapter import ModelAdapter
from library.randomness import derive_seed
from library.training.network_strength import working_at
from library.training.objective import Objective
from library.training.weight_norms import WeightNorms


def accumulation_windows(batches: Iterator[TrainingBatch], size: int) -> Iterator[list[TrainingBatch]]:
    """Groups of `size` batches; the last one of an epoch may be smaller."""
    while window := list(islice(batches, size)):
        yield window


@dataclass(frozen=True)
class StepResult:
    loss: torch.Tensor
    """mean over this process's batches; a scalar still on the device"""
    learning_rates: tuple[float, ...]
    """that the step was taken with, one per optimizer group"""
    norms: WeightNorms | None = None
    """after the step, if they are limited"""


@dataclass(frozen=True)
class OptimizerStep:
    """Moves the network once, by the mean gradient of a window of batches over all processes."""

    accelerator: Accelerator
    model: ModelAdapter
    network: Any
    objective: Objective
    optimizer: torch.optim.Optimizer
    schedule: Any
    max_grad_norm: float
    seed: int
    before_batch: Callable[[], None]
    """What the network wants to be told before each batch."""
    max_weight_norm: float | None = None
    """of each layer's change; None = not limited"""

    def run(self, window: Sequence[TrainingBatch]) -> StepResult:
        losses = []
        for batch in window:
            self.before_batch()
            with working_at(batch.network_multiplier, self.network):
                loss = self._loss(batch)
                self.accelerator.backward(loss / len(window))
            losses.append(loss.detach())
        self._average_over_processes(self._parameters)
        if self.max_grad_norm:
            self.accelerator.clip_grad_norm_(self._parameters, self.max_grad_norm)
        rates = tuple(group["lr"] for group in self.optimizer.param_groups)
        self.optimizer.step()
        norms = None
        if not self.accelerator.optimizer_step_was_skipped:  # as fp16 does when a gradient is not finite
            self.schedule.step()
            norms = self._limit_weight_norms()
        self.optimizer.zero_grad(set_to_none=True)
        return StepResult(torch.stack(losses).mean(), rates, norms)

    def _limit_weight_norms(self) -> WeightNorms | None:
        if self.max_weight_norm is None:
            return None
        return WeightNorms(*self.network.apply_max_norm_regularization(self.max_weight_norm, self.accelerator.device))

    @cached_property
    def _parameters(self) -> list[torch.nn.Parameter]:
        """What is trained; the same over the whole run."""
        return list(self.network.get_trainable_params())

    def _loss(self, batch: TrainingBatch) -> torch.Tensor:
        """The network's dropouts are seeded by the batch, so that they do not depend on how batches are spread
        over accumulation windows and processes."""
        torch.manual_seed(derive_seed(self.seed, "network dropout", batch.index))
        with self.accelerator.autocast():
            return self.objective.loss_per_image(self.model, batch.to(self.accelerator.device)).mean()

    def _average_over_processes(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """One collective for all gradients. The network is not wrapped for this: its forward passes happen
        inside the model's layers, where a wrapper would not see them."""
        if self.accelerator.num_processes == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        flat = self.accelerator.reduce(flat, reduction="mean")
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
