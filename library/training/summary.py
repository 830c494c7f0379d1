"""What a run is about to do, in a few lines. `planning` tells all of it."""

from collections.abc import Iterator

from library.training.launched_processes import started_by_accelerate
from library.training.planning.image_figures import DatasetFigures, dataset_figures
from library.training.planning.report_text import describe_batches, describe_special_images
from library.training.planning.run_report import what_it_predicts
from library.training.preflight import RunPlan
from library.training.step_counts import StepCounts
from library.wording import counted


def describe_run(plan: RunPlan, counts: StepCounts, num_processes: int, seed: int) -> Iterator[str]:
    datasets = [dataset_figures(number, dataset) for number, dataset in enumerate(plan.datasets, 1)]
    yield f"model: {plan.family.name}, which predicts {what_it_predicts(plan.family)}"
    if num_processes > 1 or started_by_accelerate():
        yield f"processes: {num_processes}"
    for figures in datasets:
        yield f"dataset {figures.number}: {_describe_images(figures)}"
        yield from (f"  {line}" for line in describe_special_images(figures, plan.resolved.settings.loss.masked_loss))
        for bucket in figures.buckets:
            uses, batches = counted(bucket.uses, "image"), counted(bucket.batches, "batch", "batches")
            yield f"  {bucket.width}x{bucket.height}: {uses} with repeats, {batches}"
    yield describe_batches(datasets, counts, num_processes)
    yield f"seed: {seed}"


def _describe_images(figures: DatasetFigures) -> str:
    text = f"{counted(figures.images(is_reg=False), 'image')}, {figures.uses(is_reg=False)} with repeats"
    regularisation = figures.images(is_reg=True)
    if regularisation:
        text += f"; {counted(regularisation, 'regularisation image')}, {figures.uses(is_reg=True)} with repeats"
    return f"{text}; batch size {figures.batch_size}"
