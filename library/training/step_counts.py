"""Batches, optimizer steps and epochs of a run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StepCounts:
    batches_per_epoch: int
    """over all processes"""
    batches_per_process: int
    accumulation: int
    """batches per optimizer step"""
    steps_per_epoch: int
    """optimizer steps"""
    max_train_steps: int
    num_epochs: int
    """the last one may be cut short"""

    def steps_after(self, epochs: int) -> int:
        """Optimizer steps that are done after so many epochs."""
        return min(epochs * self.steps_per_epoch, self.max_train_steps)


def count_steps(
    batches_per_epoch: int,
    num_processes: int,
    accumulation: int,
    max_train_steps: int,
    max_train_epochs: int | None,
) -> StepCounts:
    """A number of epochs beats a number of steps. What is left of an accumulation window at the end of an
    epoch makes a step, too."""
    per_process = _divide_up(batches_per_epoch, num_processes)
    steps_per_epoch = _divide_up(per_process, accumulation)
    steps = max_train_steps if max_train_epochs is None else max_train_epochs * steps_per_epoch
    return StepCounts(
        batches_per_epoch, per_process, accumulation, steps_per_epoch, steps, _divide_up(steps, steps_per_epoch)
    )


def epochs_between_saves(num_epochs: int, saves: int) -> int:
    """--save_n_epoch_ratio: the interval that gives about so many saves."""
    return num_epochs // saves or 1


def multiples(every: int | None, last: int) -> range:
    """The steps or epochs, counted from 1, at which something happens that is due after every so many; None and 0 =
    never."""
    return range(every, last + 1, every) if every else range(0)


def _divide_up(count: int, by: int) -> int:
    return -(-count // by)
