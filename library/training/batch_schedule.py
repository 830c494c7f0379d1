"""Which batches a run trains on, process by process: known before it begins."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from library.dataset.batch_plan import PlannedBatch, batches_of_epoch, batches_of_process
from library.dataset.captions.exposed_captions import ExposedCaptions
from library.dataset.records import Dataset
from library.training.step_counts import StepCounts


@dataclass(frozen=True)
class BatchSchedule:
    """A pure function of the datasets and the seed."""

    datasets: tuple[Dataset, ...]
    seed: int
    counts: StepCounts
    num_processes: int

    @property
    def captions(self) -> ExposedCaptions:
        """What the batches' images are described with, if nothing limits their variety."""
        return ExposedCaptions(self.datasets, self.seed, self.counts.max_train_steps)

    def of_epoch(self, epoch: int, process: int) -> list[PlannedBatch]:
        """The batches of an epoch, counted from 0, that a process trains on: the last epoch may end early."""
        return self._share(batches_of_epoch(self.datasets, self.seed, epoch), epoch, process)

    def of_run(self, processes: Sequence[int], first_epoch: int = 0) -> Iterator[PlannedBatch]:
        for epoch in range(first_epoch, self.counts.num_epochs):
            batches = batches_of_epoch(self.datasets, self.seed, epoch)
            for process in processes:
                yield from self._share(batches, epoch, process)

    def _share(self, batches: Sequence[PlannedBatch], epoch: int, process: int) -> list[PlannedBatch]:
        """A process's batches of an epoch, each with the optimizer step that trains on it."""
        accumulation, first_step = self.counts.accumulation, epoch * self.counts.steps_per_epoch
        steps_left = self.counts.max_train_steps - first_step
        share = batches_of_process(batches, process, self.num_processes)[: steps_left * accumulation]
        return [replace(batch, step=first_step + position // accumulation) for position, batch in enumerate(share)]
