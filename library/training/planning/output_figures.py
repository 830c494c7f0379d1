"""What a run writes, and when; what its caches take."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from library.averaging.snapshot_facts import TRACKED_WIDTHS, snapshot_steps
from library.dataset.records import Dataset
from library.diffusion.latents import LatentLayout
from library.options.groups import AveragingOptions, CacheOptions, SamplingOptions, SavingOptions
from library.training import file_names
from library.training.preview_moments import preview_steps
from library.training.save_schedule import SaveSchedule
from library.training.step_counts import StepCounts
from library.wording import format_size

BYTES_ON_DISK, BYTES_IN_MEMORY = 2, 4
"""Of a latent's number."""
BYTES_OF_MASK = 2
"""For each latent cell."""
_GIB = 2**30


@dataclass(frozen=True)
class PlannedFile:
    name: str
    step: int
    """optimizer step after which it is written"""
    removed_at: int | None
    """step of the save that removes it; None = it stays"""


@dataclass(frozen=True)
class SnapshotFigures:
    """Of averaged weights."""

    folder: str
    files: int
    bytes_each: int | None
    """about; None = unknown"""


@dataclass(frozen=True)
class OutputFigures:
    folder: str
    files: tuple[PlannedFile, ...]
    """network files in the order in which they are written"""
    bytes_each: int | None
    """of a network file, about; None = unknown"""
    snapshots: SnapshotFigures | None
    preview_steps: tuple[int, ...]
    """after which previews are drawn; 0 = before training"""
    prompts: int
    """pictures drawn each time"""
    free_bytes: int | None
    """on the disk of the folder; None = unknown"""

    @property
    def num_kept(self) -> int:
        """Files that are there in the end."""
        return sum(file.removed_at is None for file in self.files)

    @property
    def bytes_in_the_end(self) -> int | None:
        """About so many are kept; None = unknown."""
        if self.bytes_each is None:
            return None
        of_snapshots = 0 if self.snapshots is None else self.snapshots.files * (self.snapshots.bytes_each or 0)
        return self.num_kept * self.bytes_each + of_snapshots


@dataclass(frozen=True)
class CacheFigures:
    what: str
    place: str
    """folder, or 'memory'"""
    bytes: int
    is_limit: bool
    """It is at most that."""
    free_bytes: int | None
    """on the disk of the folder; None = unknown, or in memory"""


def output_figures(
    output_dir: Path,
    saving: SavingOptions,
    sampling: SamplingOptions,
    averaging: AveragingOptions,
    prompts: int,
    counts: StepCounts,
    bytes_each: int | None = None,
    bytes_of_snapshot: int | None = None,
) -> OutputFigures:
    return OutputFigures(
        folder=str(output_dir),
        files=tuple(_files(SaveSchedule(saving, counts.num_epochs), counts, _suffixes(averaging))),
        bytes_each=bytes_each,
        snapshots=_snapshots(output_dir, saving, averaging, counts, bytes_of_snapshot),
        preview_steps=tuple(preview_steps(sampling, counts)) if prompts else (),
        prompts=prompts,
        free_bytes=_free_bytes(output_dir),
    )


def _suffixes(averaging: AveragingOptions) -> tuple[str, ...]:
    """Of the versions of the weights that are saved."""
    return ("",) if averaging.ema_decay is None else ("", file_names.EMA_SUFFIX)


def _files(schedule: SaveSchedule, counts: StepCounts, suffixes: Sequence[str]) -> Iterator[PlannedFile]:
    saves = list(schedule.of_run(counts))
    removed = {save.removes: step for step, save in saves if save.removes is not None}
    planned = [(save.file, step, removed.get(save.file)) for step, save in saves]
    for file, step, removed_at in [*planned, (schedule.final_file, counts.max_train_steps, None)]:
        for suffix in suffixes:
            yield PlannedFile(file_names.of_version(file, suffix), step, removed_at)


def _snapshots(
    output_dir: Path, saving: SavingOptions, averaging: AveragingOptions, counts: StepCounts, bytes_each: int | None
) -> SnapshotFigures | None:
    every = averaging.ema_snapshots_every_n_steps
    if every is None:
        return None
    files = len(snapshot_steps(every, counts.max_train_steps)) * len(TRACKED_WIDTHS)
    return SnapshotFigures(str(output_dir / file_names.snapshot_folder(saving.output_name)), files, bytes_each)


def cache_figures(
    datasets: Sequence[Dataset], options: CacheOptions, layout: LatentLayout, folder: Path
) -> Iterator[CacheFigures]:
    """
    Args:
        folder: where caches on disk are.
    """
    if options.caches_latents:
        on_disk = options.cache_latents_to_disk
        yield _cache("latents", _bytes_of_latents(datasets, options, layout), folder if on_disk else None)
    if options.caches_text:
        budget = int(options.text_encoder_cache_budget * _GIB)
        on_disk = options.cache_text_encoder_outputs_to_disk
        yield _cache("encoded captions", budget, folder if on_disk else None, is_limit=True)


def output_notices(figures: OutputFigures | None) -> list[str]:
    if figures is None:
        return []
    needed, free = figures.bytes_in_the_end, figures.free_bytes
    if needed is None or free is None or needed < free:
        return []
    remedy = "save less often, or keep fewer with --save_last_n_epochs or --save_last_n_steps"
    if figures.snapshots is not None:
        remedy += f"; {figures.snapshots.files} of them are those of --ema_snapshots_every_n_steps"
    return [
        f"the network files take about {format_size(needed)}, but only {format_size(free)} are free in "
        f"'{figures.folder}': {remedy}"
    ]


def room_notices(caches: Sequence[CacheFigures]) -> list[str]:
    return [
        f"the {cache.what} take {format_size(cache.bytes)} (less if some are there already), but only "
        f"{format_size(cache.free_bytes)} are free in '{cache.place}': choose another folder with --cache_dir"
        for cache in caches
        if not cache.is_limit and cache.free_bytes is not None and cache.free_bytes < cache.bytes
    ]


def _cache(what: str, size: int, folder: Path | None, is_limit: bool = False) -> CacheFigures:
    if folder is None:
        return CacheFigures(what, "memory", size, is_limit, free_bytes=None)
    return CacheFigures(what, str(folder), size, is_limit, _free_bytes(folder))


def _bytes_of_latents(datasets: Sequence[Dataset], options: CacheOptions, layout: LatentLayout) -> int:
    """Of all pictures: an upright and a mirrored one where images are flipped, each with its mask."""
    bytes_each = BYTES_ON_DISK if options.cache_latents_to_disk else BYTES_IN_MEMORY
    kept = 2 if options.resample_latents else 1  # mean and deviation, or one sample
    total = 0
    for dataset in datasets:
        for record in dataset.records:
            channels, height, width = layout.shape(record.placement.bucket)
            versions = 2 if dataset.rules_of(record).flip_aug else 1
            mask = BYTES_OF_MASK if record.alpha_mask or record.mask_path is not None else 0
            if record.repeats:
                total += height * width * (channels * bytes_each * kept + mask) * versions
    return total


def _free_bytes(folder: Path) -> int | None:
    existing = next((path for path in (folder, *folder.absolute().parents) if path.is_dir()), None)
    try:
        return None if existing is None else shutil.disk_usage(existing).free
    except OSError:
        return None
