"""The training loop."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from accelerate import Accelerator
from tqdm import tqdm

from library.dataset.batches.loading import BatchLoader
from library.dataset.batches.training_batch import TrainingBatch
from library.errors import UserError
from library.training.batch_schedule import BatchSchedule
from library.training.image_losses import ImageLossRecord
from library.training.loss_record import LossRecord
from library.training.optimization import OptimizerStep, StepResult, accumulation_windows
from library.training.preview_schedule import PreviewSchedule
from library.training.saving import NetworkSaver
from library.training.step_counts import StepCounts
from library.training.tracking import displayed_values, measured_values, step_values
from library.training.unreadable_images import UnreadableImages

logger = logging.getLogger(__name__)


@dataclass
class Trainer:
    """Runs the epochs and tells everybody when a step or an epoch is done. Knows no model and no network."""

    accelerator: Accelerator
    schedule: BatchSchedule
    loader: BatchLoader
    unreadable: UnreadableImages
    optimizer_step: OptimizerStep
    before_epoch: Callable[[], None]
    """What the network wants to be told."""
    descriptions: list[str]
    """of the optimizer's groups, for the log"""
    counts: StepCounts
    saver: NetworkSaver
    previews: PreviewSchedule
    image_losses: ImageLossRecord | None = None
    """None = only the losses of whole steps are kept"""

    def __post_init__(self) -> None:
        self._step = 0
        self._losses = LossRecord(window=self.counts.steps_per_epoch)
        self._bar = tqdm(
            total=self.counts.max_train_steps,
            desc="training",
            unit="step",
            disable=not self.accelerator.is_main_process,
            smoothing=0.05,
        )

    def train(self) -> Path | None:
        """Trains to the end. Returns the final file, on the main process.

        Raises:
            KeyboardInterrupt: with a note of what is left.
        """
        try:
            return self._train()
        except KeyboardInterrupt as interruption:
            interruption.add_note(
                f"at step {self._step} of {self.counts.max_train_steps}; {self.saver.what_is_kept(self._step)}"
            )
            raise

    def _train(self) -> Path | None:
        with self._bar, self._batches() as batches, self._records():
            self.previews.at_first()
            for epoch in range(self.counts.num_epochs):
                self.before_epoch()
                self._bar.set_description(f"epoch {epoch + 1}/{self.counts.num_epochs}")
                of_epoch = islice(batches, self.counts.batches_per_process)
                for window in accumulation_windows(of_epoch, self.counts.accumulation):
                    self._after_step(window, self.optimizer_step.run(window, self._step), epoch)
                self._after_epoch(epoch)
        return self._finish()

    @contextmanager
    def _batches(self) -> Iterator[Iterator[TrainingBatch]]:
        """This process's batches of the whole run, so that an epoch's first ones are ready when the last one ends."""
        with self.loader.load(self.schedule.of_run([self.accelerator.process_index])) as batches:
            yield self.unreadable.watch(batches)
        self.unreadable.summarize()

    def _records(self) -> AbstractContextManager[None]:
        return nullcontext() if self.image_losses is None else self.image_losses.written_at_end()

    def _after_step(self, window: Sequence[TrainingBatch], result: StepResult, finished_epochs: int) -> None:
        self._step += 1
        measured = measured_values(self.descriptions, result.norms, result.adapted_rates, result.gradient_norm)
        self._losses.add(self._step, result.loss, result.learning_rates, measured)
        if self.image_losses is not None:
            self.image_losses.after_step(self._step, window, result.losses)
        self._show_losses()
        self._bar.update()
        if self.accelerator.is_main_process:
            self.saver.after_step(self._step, finished_epochs)
        self.previews.after_step(self._step)

    def _after_epoch(self, epoch: int) -> None:
        self._show_losses(wait=True)
        self.accelerator.log({"loss/epoch_average": self._losses.average}, step=epoch + 1)
        if self.accelerator.is_main_process:
            self.saver.after_epoch(self._step, epoch + 1)
        self.previews.after_epoch(epoch + 1)

    def _show_losses(self, wait: bool = False) -> None:
        """Displays and logs the losses that have arrived; they may be a few steps old."""
        for loss in self._losses.ready(wait):
            if not math.isfinite(loss.value):
                raise UserError(_why_not_finite(loss.step, loss.value))
            self._bar.set_postfix(displayed_values(loss, self._losses.average), refresh=False)
            values = step_values(loss, self._losses.average, self.descriptions)
            self.accelerator.log(values, step=loss.step)

    def _finish(self) -> Path | None:
        path = None
        if self.accelerator.is_main_process:
            try:
                path = self.saver.at_end(self._step, self.counts.num_epochs)
            except UserError:
                self.accelerator.wait_for_everyone()  # they end well, and say nothing
                raise
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        return path


def _why_not_finite(step: int, loss: float) -> str:
    if step == 1:
        return (
            f"the loss is {loss} at the first step, before anything was learned: the base model or its text encoders "
            "give no usable numbers; check the model file, and use --mixed_precision bf16 instead of fp16"
        )
    return (
        f"the loss became {loss} at step {step}: training has diverged and was stopped; "
        "lower --learning_rate, or use --mixed_precision bf16 instead of fp16"
    )
