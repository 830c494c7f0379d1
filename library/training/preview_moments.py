"""At which moments previews are drawn, and what those are called in file names."""

from collections.abc import Iterator

from library.options.groups import SamplingOptions
from library.training.step_counts import StepCounts, multiples


def moment_before_training(options: SamplingOptions) -> str | None:
    return f"{0:06d}" if options.sample_at_first else None


def moment_after_step(options: SamplingOptions, step: int) -> str | None:
    """An interval in epochs beats one in steps."""
    every = options.sample_every_n_steps
    return f"{step:06d}" if every and not options.sample_every_n_epochs and step % every == 0 else None


def moment_after_epoch(options: SamplingOptions, finished_epochs: int) -> str | None:
    every = options.sample_every_n_epochs
    return f"e{finished_epochs:06d}" if every and finished_epochs % every == 0 else None


def preview_steps(options: SamplingOptions, counts: StepCounts) -> Iterator[int]:
    """After how many optimizer steps previews are drawn in a run, in order."""
    if moment_before_training(options) is not None:
        yield 0
    for step in multiples(options.sample_every_n_steps, counts.max_train_steps):
        if moment_after_step(options, step) is not None:
            yield step
    for epoch in multiples(options.sample_every_n_epochs, counts.num_epochs):
        yield counts.steps_after(epoch)
