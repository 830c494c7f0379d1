"""Everything the plan says, as one value; what is built from it is text or JSON."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from library.dataset.batch_plan import PlannedBatch, count_batches
from library.dataset.findings import SkippedImage
from library.errors import UserError
from library.models.family import VELOCITY, ModelFamily
from library.optimizers.schedule_lengths import schedule_notices
from library.optimizers.scheduled_rates import schedule_beside
from library.options.schema import Settings
from library.training.batch_schedule import BatchSchedule
from library.training.planning.caption_figures import CaptionFigures, caption_figures
from library.training.planning.image_figures import DatasetFigures, dataset_figures, exposures_of_run
from library.training.planning.learning_rates import LearningRateFigures, learning_rate_figures
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
from library.training.save_schedule import SNAPSHOT_PRECISION
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
class TrainingFigures:
    counts: StepCounts
    learning_rate: LearningRateFigures | None
    """None = there is no such schedule, or the run cannot go through it"""
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
    masks_count: bool
    """--masked_loss"""
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
    problems = list(found.findings.problems)
    if schedule is not None:
        uses = exposures_of_run(schedule)
        rates = _learning_rates(settings, schedule.counts.max_train_steps, notices, problems)
        training = _training(found, schedule, rates)
        caches = _caches(found)
        notices += [*output_notices(training.output), *room_notices(caches)]
    return RunReport(
        model=_model(found),
        seed=settings.training.seed,
        num_processes=num_processes,
        datasets=tuple(dataset_figures(number, one, uses) for number, one in enumerate(found.datasets, 1)),
        masks_count=settings.loss.masked_loss,
        skipped=tuple(found.findings.skipped),
        training=training,
        caches=caches,
        warnings=(*found.findings.warnings, *notices),
        problems=tuple(problems),
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


def _network_bytes(found: Examination, save_precision: str | None) -> int | None:
    if found.base is None:
        return None
    settings = found.resolved.settings
    saving = settings.saving.model_copy(update={"save_precision": save_precision})
    return network_bytes(found.base.model.source, settings.network, settings.optimizer, settings.precision, saving)


def _learning_rates(
    settings: Settings, max_train_steps: int, notices: list[str], problems: list[str]
) -> LearningRateFigures | None:
    """What is found is added to `notices` and `problems`."""
    try:
        figures = learning_rate_figures(settings, max_train_steps)
        notices += schedule_notices(schedule_beside(settings.optimizer, settings.schedule), max_train_steps)
        return figures
    except UserError as error:
        problems += [problem for problem in error.problems if problem not in problems]
        return None


def _training(found: Examination, schedule: BatchSchedule, rates: LearningRateFigures | None) -> TrainingFigures:
    settings, counts = found.resolved.settings, schedule.counts
    saving = settings.saving
    return TrainingFigures(
        counts=counts,
        learning_rate=rates,
        captions=caption_figures(schedule.captions, first_batches(schedule)),
        output=None
        if saving.output_dir is None
        else output_figures(
            saving.output_dir,
            saving,
            settings.sampling,
            settings.averaging,
            len(found.prompts),
            counts,
            _network_bytes(found, saving.save_precision),
            _network_bytes(found, saving.save_precision or SNAPSHOT_PRECISION),
        ),
    )


def _caches(found: Examination) -> tuple[CacheFigures, ...]:
    folder = cache_folder(found.resolved, found.datasets)
    return tuple(cache_figures(found.datasets, found.resolved.settings.cache, found.family.latents, folder))
