"""Which batches a run trains on, process by process: known before it begins."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from library.dataset.batch_plan import PlannedBatch, batches_of_epoch, batches_of_process
from library.dataset.records import Dataset
from library.training.step_counts import StepCounts


@dataclass(frozen=True)
class BatchSchedule:
    """A pure function of the datasets and the seed."""

    datasets: tuple[Dataset, ...]
    seed: int
    counts: StepCounts
    num_processes: int

    def of_epoch(self, epoch: int, process: int) -> list[PlannedBatch]:
        """The batches of an epoch, counted from 0, that a process trains on: the last epoch may end early."""
        return self._share(batches_of_epoch(self.datasets, self.seed, epoch), epoch, process)

    def of_run(self, processes: Sequence[int]) -> Iterator[PlannedBatch]:
        for epoch in range(self.counts.num_epochs):
            batches = batches_of_epoch(self.datasets, self.seed, epoch)
            for process in processes:
                yield from self._share(batches, epoch, process)

    def _share(self, batches: Sequence[PlannedBatch], epoch: int, process: int) -> list[PlannedBatch]:
        steps_left = self.counts.max_train_steps - epoch * self.counts.steps_per_epoch
        return batches_of_process(batches, process, self.num_processes)[: steps_left * self.counts.accumulation]
