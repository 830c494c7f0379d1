"""Everything the plan says, as one value; what is built from it is text or JSON."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from library.dataset.batch_plan import PlannedBatch, count_batches
from library.dataset.findings import SkippedImage
from library.models.family import VELOCITY, ModelFamily
from library.optimizers.schedule_lengths import count_steps as count_scheduled_steps
from library.optimizers.schedule_lengths import schedule_notices
from library.training.batch_schedule import BatchSchedule
from library.training.planning.caption_figures import CaptionFigures, caption_figures
from library.training.planning.image_figures import DatasetFigures, dataset_figures, exposures_of_run
from library.training.planning.network_size import network_bytes
from library.training.planning.output_figures import (
    CacheFigures,
    OutputFigures,
    cache_figures,
    output_figures,
    output_notices,
    room_notices,
)
from library.training.preflight import Examination, cache_folder
from library.training.step_counts import StepCounts, count_steps

SEED_IF_NONE = 0
"""Stands in for the seed of a run that draws its own."""


@dataclass(frozen=True)
class ModelFigures:
    name: str
    """path, or hub id"""
    family: str
    predicts: str


@dataclass(frozen=True)
class LearningRateFigures:
    scheduler: str
    learning_rate: float
    warmup_steps: int


@dataclass(frozen=True)
class TrainingFigures:
    counts: StepCounts
    learning_rate: LearningRateFigures
    captions: CaptionFigures
    output: OutputFigures | None
    """None = the folder is not known"""


@dataclass(frozen=True)
class RunReport:
    model: ModelFigures | None
    """None = it cannot be used"""
    seed: int | None
    """None = the run draws one; examples are then those of SEED_IF_NONE"""
    num_processes: int
    datasets: tuple[DatasetFigures, ...]
    skipped: tuple[SkippedImage, ...]
    training: TrainingFigures | None
    """None = there is nothing to train on"""
    caches: tuple[CacheFigures, ...]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]


def batch_schedule(found: Examination, num_processes: int) -> BatchSchedule | None:
    """The batches of the run; None if there are no images."""
    training = found.resolved.settings.training
    batches = count_batches(found.datasets)
    if not batches:
        return None
    counts = count_steps(
        batches,
        num_processes,
        training.gradient_accumulation_steps,
        training.max_train_steps,
        training.max_train_epochs,
    )
    seed = SEED_IF_NONE if training.seed is None else training.seed
    return BatchSchedule(found.datasets, seed, counts, num_processes)


def build_report(found: Examination, num_processes: int) -> RunReport:
    settings = found.resolved.settings
    schedule = batch_schedule(found, num_processes)
    uses: Counter[str] | None = None
    training: TrainingFigures | None = None
    caches: tuple[CacheFigures, ...] = ()
    notices: list[str] = []
    if schedule is not None:
        uses = exposures_of_run(schedule)
        training = _training(found, schedule)
        caches = _caches(found)
        notices = schedule_notices(settings.schedule, schedule.counts.max_train_steps)
        notices = [*notices, *output_notices(training.output), *room_notices(caches)]
    return RunReport(
        model=_model(found),
        seed=settings.training.seed,
        num_processes=num_processes,
        datasets=tuple(dataset_figures(number, one, uses) for number, one in enumerate(found.datasets, 1)),
        skipped=tuple(found.findings.skipped),
        training=training,
        caches=caches,
        warnings=(*found.findings.warnings, *notices),
        problems=tuple(found.findings.problems),
    )


def first_batches(schedule: BatchSchedule) -> Iterator[PlannedBatch]:
    """Those of the first epoch, of all processes, in the order in which they are trained on."""
    shares = [schedule.of_epoch(0, process) for process in range(schedule.num_processes)]
    return (batch for at_once in zip(*shares, strict=True) for batch in at_once)


def _model(found: Examination) -> ModelFigures | None:
    if found.base is None:
        return None
    return ModelFigures(found.base.model.name, found.family.name, what_it_predicts(found.family))


def what_it_predicts(family: ModelFamily) -> str:
    return "velocity" if family.prediction_type == VELOCITY else "noise"


def _network_bytes(found: Examination) -> int | None:
    if found.base is None:
        return None
    settings = found.resolved.settings
    return network_bytes(found.base.model.source, settings.network, settings.precision, settings.saving)


def _training(found: Examination, schedule: BatchSchedule) -> TrainingFigures:
    settings, counts = found.resolved.settings, schedule.counts
    saving = settings.saving
    return TrainingFigures(
        counts=counts,
        learning_rate=LearningRateFigures(
            scheduler=settings.schedule.lr_scheduler,
            learning_rate=settings.optimizer.learning_rate,
            warmup_steps=count_scheduled_steps(settings.schedule.lr_warmup_steps, counts.max_train_steps),
        ),
        captions=caption_figures(schedule.captions, first_batches(schedule)),
        output=None
        if saving.output_dir is None
        else output_figures(
            saving.output_dir, saving, settings.sampling, len(found.prompts), counts, _network_bytes(found)
        ),
    )


def _caches(found: Examination) -> tuple[CacheFigures, ...]:
    folder = cache_folder(found.resolved, found.datasets)
    return tuple(cache_figures(found.datasets, found.resolved.settings.cache, found.family.latents, folder))
