"""What a run is about to do, in a few lines."""

from collections import Counter
from collections.abc import Iterator

from library.dataset.records import Dataset
from library.models.family import VELOCITY
from library.training.preflight import RunPlan
from library.training.step_counts import StepCounts


def describe_run(plan: RunPlan, counts: StepCounts, num_processes: int, seed: int) -> Iterator[str]:
    target = "velocity" if plan.family.prediction_type == VELOCITY else "noise"
    yield f"model: {plan.family.name}, which predicts {target}"
    for number, dataset in enumerate(plan.datasets, 1):
        yield f"dataset {number}: {_describe_images(dataset)}"
        for line in _describe_buckets(dataset):
            yield f"  {line}"
    yield _describe_steps(counts, num_processes)
    yield f"seed: {seed}"


def _describe_images(dataset: Dataset) -> str:
    training = [record for record in dataset.records if not record.is_reg]
    regularisation = [record for record in dataset.records if record.is_reg and record.repeats]
    text = f"{len(training)} images, {sum(record.repeats for record in training)} with repeats"
    if regularisation:
        uses = sum(record.repeats for record in regularisation)
        text += f"; {len(regularisation)} regularisation images, {uses} with repeats"
    return f"{text}; batch size {dataset.settings.batch_size}"


def _describe_buckets(dataset: Dataset) -> Iterator[str]:
    uses: Counter[tuple[int, int]] = Counter()
    for record in dataset.records:
        uses[record.placement.bucket] += record.repeats
    for (width, height), count in sorted(uses.items()):
        yield f"{width}x{height}: {count} images with repeats, {-(-count // dataset.settings.batch_size)} batches"


def _describe_steps(counts: StepCounts, num_processes: int) -> str:
    formula = f"{counts.batches_per_epoch} batches per epoch"
    if num_processes > 1:
        formula += f" / {num_processes} processes = {counts.batches_per_process}"
    if counts.accumulation > 1:
        formula += f" / {counts.accumulation} accumulated"
    per_epoch = f"{formula} = {counts.steps_per_epoch} steps per epoch"
    return f"{per_epoch}; {counts.max_train_steps} steps in {counts.num_epochs} epochs"
