"""When the network is saved, under which names, and which file a later save removes."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from library.options.groups import SavingOptions
from library.training import file_names
from library.training.step_counts import StepCounts, epochs_between_saves, multiples

SNAPSHOT_PRECISION = "fp16"
"""Of snapshots of averaged weights, unless --save_precision names one."""


@dataclass(frozen=True)
class Save:
    """A save in between."""

    file: str
    removes: str | None
    """An earlier file that is not kept beside this one. It may not exist."""


@dataclass(frozen=True)
class SaveSchedule:
    options: SavingOptions
    num_epochs: int

    @property
    def extension(self) -> str:
        return f".{self.options.save_model_as}"

    @property
    def final_file(self) -> str:
        return file_names.final_file(self.options.output_name, self.extension)

    def after_step(self, step: int) -> Save | None:
        every = self.options.save_every_n_steps
        if not every or step % every:
            return None
        removed = file_names.step_to_remove(step, every, self.options.save_last_n_steps)
        return Save(self._step_file(step), None if removed is None else self._step_file(removed))

    def after_epoch(self, finished_epochs: int) -> Save | None:
        """The last epoch is not saved in between: it is what the final file holds."""
        every = self._epochs_between_saves
        if not every or finished_epochs % every or finished_epochs >= self.num_epochs:
            return None
        removed = file_names.epoch_to_remove(finished_epochs, every, self.options.save_last_n_epochs)
        return Save(self._epoch_file(finished_epochs), None if removed is None else self._epoch_file(removed))

    def of_run(self, counts: StepCounts) -> Iterator[tuple[int, Save]]:
        """Optimizer step (counted from 1) and save of everything that is saved in between, in order."""
        steps = multiples(self.options.save_every_n_steps, counts.max_train_steps)
        epochs = multiples(self._epochs_between_saves, counts.num_epochs)
        after_steps = ((step, self.after_step(step)) for step in steps)
        after_epochs = ((counts.steps_after(epoch), self.after_epoch(epoch)) for epoch in epochs)
        in_order = heapq.merge(after_steps, after_epochs, key=lambda moment: moment[0])
        yield from ((step, save) for step, save in in_order if save is not None)

    @property
    def _epochs_between_saves(self) -> int | None:
        if self.options.save_n_epoch_ratio:
            return epochs_between_saves(self.num_epochs, self.options.save_n_epoch_ratio)
        return self.options.save_every_n_epochs

    def _step_file(self, step: int) -> str:
        return file_names.step_file(self.options.output_name, step, self.extension)

    def _epoch_file(self, epoch: int) -> str:
        return file_names.epoch_file(self.options.output_name, epoch, self.extension)
