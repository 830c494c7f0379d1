"""The plan as a page of text."""

from collections.abc import Iterable, Iterator, Sequence

from library.training.planning.caption_figures import CaptionFigures
from library.training.planning.image_figures import BucketFigures, DatasetFigures, Spread, SubsetFigures
from library.training.planning.learning_rates import LearningRateFigures, evenly_spread
from library.training.planning.output_figures import CacheFigures, OutputFigures
from library.training.planning.run_report import SEED_IF_NONE, RunReport, TrainingFigures
from library.training.planning.text_layout import paragraph, shorten, table
from library.training.step_counts import StepCounts
from library.wording import counted, format_size, listed

MOST_TAGS = 20
MOST_FILES = 6
CAPTION_LENGTH = 300
POINTS_OF_CURVE = 5
UNKNOWN_RATES = "how the rates change depends on the groups of the network, which only training knows"

_SUBSET_HEADINGS = ("", "folder", "images", "repeats", "per epoch", "uses of each in the run", "masks", "validation")
_BUCKET_HEADINGS = ("bucket", "images", "per epoch", "batches", "last batch", "enlarged", "cropped away")


def plan_text(report: RunReport) -> str:
    sections = [_run(report), *(_dataset(figures, report.masks_count) for figures in report.datasets)]
    if report.training is not None:
        sections += [_captions(report.training.captions), _length(report, report.training)]
        sections += [_learning_rate(report.training.learning_rate), _output(report.training.output)]
    sections += [_caches(report.caches), _warnings(report.warnings)]
    texts = ["\n".join(section) for section in sections]
    return "\n\n".join(text for text in texts if text) + "\n"


def verdict(report: RunReport) -> str:
    """The last line."""
    if report.problems:
        return f"This run cannot start: {counted(len(report.problems), 'problem')}."
    return "This run can start."


def describe_batches(datasets: Sequence[DatasetFigures], counts: StepCounts, num_processes: int) -> str:
    """From batches to optimizer steps in numbers."""
    formula = counted(counts.batches_per_epoch, "batch", "batches")
    if len(datasets) > 1:
        formula = f"{' + '.join(str(figures.batches) for figures in datasets)} = {formula}"
    if num_processes > 1:
        formula += f" / {num_processes} processes"
    if counts.accumulation > 1:
        formula += f" = {counts.batches_per_process}" * (num_processes > 1) + f" / {counts.accumulation} accumulated"
    return (
        f"{formula} = {counted(counts.steps_per_epoch, 'step')} per epoch; "
        f"{counted(counts.max_train_steps, 'step')} in {counted(counts.num_epochs, 'epoch')}"
    )


def describe_special_images(figures: DatasetFigures, masks_count: bool) -> Iterator[str]:
    """Images of a dataset that are not trained on as a whole, or not as they are."""
    if masks_count:
        yield f"masks: {figures.masked} of {counted(_used(figures), 'image')}; the others count everywhere"
    if figures.preserved:
        yield f"diff_output_preservation: {counted(figures.preserved, 'image')}, on which the model is to stay as it is"


def _used(figures: DatasetFigures) -> int:
    return figures.images(is_reg=False) + figures.images(is_reg=True)


def _run(report: RunReport) -> Iterator[str]:
    yield "What this run would do"
    if report.model is None:
        yield "  model: cannot be used (see the problems)"
    else:
        yield f"  model: {report.model.name} ({report.model.family}, predicts {report.model.predicts})"
    if report.seed is None:
        yield f"  seed: drawn when training starts; examples here are for --seed {SEED_IF_NONE}"
    else:
        yield f"  seed: {report.seed}"
    if report.datasets:
        yield f"  images: {', '.join(_numbers_of_images(report))}"


def _numbers_of_images(report: RunReport) -> Iterator[str]:
    subsets = [subset for figures in report.datasets for subset in figures.subsets]
    yield f"{sum(subset.images for subset in subsets if not subset.is_reg)} to train on"
    numbers = {
        "for regularisation": sum(subset.images for subset in subsets if subset.is_reg),
        "held out for validation": sum(subset.held_out for subset in subsets),
        "left out (why: see below; all names: tools/plan.py --json FILE)": len(report.skipped),
    }
    yield from (f"{number} {what}" for what, number in numbers.items() if number)


def _dataset(figures: DatasetFigures, masks_count: bool) -> Iterator[str]:
    resolution = "x".join(map(str, figures.resolution or ()))
    yield f"Dataset {figures.number}: resolution {resolution} pixels, batch size {figures.batch_size}"
    yield from _indented(table(_SUBSET_HEADINGS, [_subset_row(one) for one in figures.subsets], left=frozenset({1, 5})))
    yield from _indented(describe_special_images(figures, masks_count))
    if figures.buckets:
        yield ""
        rows = [_bucket_row(one) for one in figures.buckets]
        yield from _indented(table(_BUCKET_HEADINGS, rows, left=frozenset({5, 6})))


def _subset_row(subset: SubsetFigures) -> tuple[str, ...]:
    kind = " (regularisation)" if subset.is_reg else ""
    return (
        str(subset.number),
        f"{subset.folder}{kind}",
        f"{subset.images - subset.unused} of {subset.images}" if subset.unused else str(subset.images),
        str(subset.repeats),
        str(subset.uses),
        "" if subset.exposures is None else _spread(subset.exposures),
        _masks(subset),
        str(subset.held_out or ""),
    )


def _masks(subset: SubsetFigures) -> str:
    files = counted(subset.mask_files, "file") if subset.mask_files else ""
    alpha = f"{subset.alpha_masks} alpha" if subset.alpha_masks else ""
    return ", ".join(filter(None, (files, alpha)))


def _spread(spread: Spread) -> str:
    if spread.least == spread.most:
        return str(spread.most)
    return f"{spread.least} to {spread.most}, mean {spread.mean:.1f}"


def _bucket_row(bucket: BucketFigures) -> tuple[str, ...]:
    enlarged = f"{bucket.enlarged}, up to {bucket.most_enlarged:.3g} times" if bucket.enlarged else ""
    cropped = ""
    if bucket.most_cropped >= 0.0005:
        most = f"at most {bucket.most_cropped:.1%}: {bucket.most_cropped_image}"
        cropped = f"{bucket.mean_cropped:.1%} on average, {most}"
    return (
        f"{bucket.width}x{bucket.height}",
        str(bucket.images),
        str(bucket.uses),
        str(bucket.batches),
        str(bucket.last_batch),
        enlarged,
        cropped,
    )


def _captions(figures: CaptionFigures) -> Iterator[str]:
    numbers = {
        "without a caption": figures.without,
        "with an empty one": figures.empty,
        "with their class tokens only": figures.class_words,
    }
    details = [f"{number} {what}" for what, number in numbers.items() if number]
    yield f"Captions of {counted(figures.images, 'image')}{': ' if details else ''}{', '.join(details)}"
    if figures.tags:
        tags = listed([f"{shorten(tag, 60)} ({count})" for tag, count in figures.tags], MOST_TAGS)
        yield from paragraph(f"most frequent tags in training: {tags}", bullet="  ")
    for example in figures.examples:
        used = shorten(example.used, CAPTION_LENGTH) or "(empty)"
        yield from paragraph(f"{example.image}: {used}", bullet="  ")


def _length(report: RunReport, training: TrainingFigures) -> Iterator[str]:
    counts = training.counts
    yield "Length"
    yield f"  {describe_batches(report.datasets, counts, report.num_processes)}"
    missing = counts.num_epochs * counts.steps_per_epoch - counts.max_train_steps
    if missing:
        done = counts.steps_per_epoch - missing
        yield f"  the last epoch ends after {done} of its {counted(counts.steps_per_epoch, 'step')}"


def _learning_rate(figures: LearningRateFigures | None) -> Iterator[str]:
    if figures is None:
        return
    yield "Learning rate"
    found = ", which multiplies the rates by a factor that it finds" if figures.finds_rate else ""
    yield from paragraph(f"{figures.optimizer}{found}; {figures.schedule}", bullet="  ")
    if not figures.curves:
        yield f"  {UNKNOWN_RATES}"
        return
    points = evenly_spread(len(figures.steps), POINTS_OF_CURVE)
    headings = ("", *(f"step {figures.steps[point]}" for point in points), "highest", "then lowest")
    rows = [
        (", ".join(curve.parts), *map(_rate, [*(curve.rates[point] for point in points), curve.highest, curve.lowest]))
        for curve in figures.curves
    ]
    yield from _indented(table(headings, rows, left=frozenset({0})))


def _rate(rate: float) -> str:
    return f"{rate:.3g}"


def _output(figures: OutputFigures | None) -> Iterator[str]:
    if figures is None:
        return
    kept = figures.num_kept
    counts = counted(len(figures.files), "file")
    size = "" if figures.bytes_each is None else f" of about {format_size(figures.bytes_each)}"
    yield f"Saved in {figures.folder}: {counts}{size}{f'; kept: {kept}' if kept < len(figures.files) else ''}"
    rows = [
        (file.name, f"step {file.step}", "" if file.removed_at is None else f"removed at step {file.removed_at}")
        for file in figures.files
    ]
    lines = table(("", "", ""), rows, left=frozenset({0, 2}))[1:]
    if len(lines) > MOST_FILES:
        half = MOST_FILES // 2
        lines = [*lines[:half], f"... {len(lines) - 2 * half} more", *lines[-half:]]
    yield from _indented(lines)
    if figures.snapshots is not None:
        size = "" if figures.snapshots.bytes_each is None else f" of about {format_size(figures.snapshots.bytes_each)}"
        yield f"  {counted(figures.snapshots.files, 'snapshot')}{size} in {figures.snapshots.folder}"
    if figures.preview_steps:
        pictures = len(figures.preview_steps) * figures.prompts
        moments = [str(step) if step else "0 (before training)" for step in figures.preview_steps]
        shown = moments if len(moments) <= 2 * MOST_FILES else [*moments[:MOST_FILES], "...", moments[-1]]
        yield f"  {counted(pictures, 'preview')}, {figures.prompts} each time: at step {', '.join(shown)}"
    if figures.free_bytes is not None:
        yield f"  free there: {format_size(figures.free_bytes)}"


def _caches(caches: Sequence[CacheFigures]) -> Iterator[str]:
    if caches:
        yield "Caches"
    for cache in caches:
        size = f"{'at most ' if cache.is_limit else ''}{format_size(cache.bytes)}"
        free = "" if cache.free_bytes is None else f" (free there: {format_size(cache.free_bytes)})"
        yield f"  {cache.what}: {size} in {cache.place}{free}"


def _warnings(warnings: Sequence[str]) -> Iterator[str]:
    if warnings:
        yield counted(len(warnings), "warning")
    for number, warning in enumerate(warnings, 1):
        yield from paragraph(warning, bullet=f"  {number}. ")


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}".rstrip() for line in lines)
