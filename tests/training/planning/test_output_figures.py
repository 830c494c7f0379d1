"""Files, previews and caches, against what a run really writes."""

from pathlib import Path

import pytest

from library.diffusion.latents import LatentLayout
from library.options.dataset_settings import SubsetSettings
from library.options.groups import AveragingOptions, CacheOptions, SamplingOptions, SavingOptions
from library.training.planning.output_figures import (
    CacheFigures,
    SnapshotFigures,
    cache_figures,
    output_figures,
    output_notices,
    room_notices,
)
from library.training.preview_moments import moment_after_epoch, moment_after_step
from library.training.save_schedule import SaveSchedule
from library.training.step_counts import count_steps
from tests.training.planning.planned_data import dataset_of, record


def simulate(options, counts) -> tuple[list[tuple[str, int]], set[str]]:
    """Names and steps of the files as the training loop saves them, and what is left."""
    schedule = SaveSchedule(options, counts.num_epochs)
    written, left, step = [], set(), 0

    def save(planned):
        if planned is not None:
            written.append((planned.file, step))
            left.add(planned.file)
            left.discard(planned.removes)

    for epoch in range(counts.num_epochs):
        for _ in range(counts.steps_per_epoch):
            step += 1
            save(schedule.after_step(step))
            if step >= counts.max_train_steps:
                break
        save(schedule.after_epoch(epoch + 1))
    return [*written, (schedule.final_file, step)], left | {schedule.final_file}


@pytest.mark.parametrize(
    ("options", "written", "left"),
    [
        ({}, 1, 1),
        ({"save_every_n_steps": 3}, 8, 8),
        ({"save_every_n_steps": 3, "save_last_n_steps": 6}, 8, 4),
        ({"save_every_n_epochs": 1}, 3, 3),
        ({"save_every_n_epochs": 1, "save_last_n_epochs": 1}, 3, 2),
        ({"save_n_epoch_ratio": 3}, 3, 3),
        ({"save_every_n_steps": 5, "save_every_n_epochs": 1, "save_last_n_steps": 1, "output_name": "ü"}, 7, 4),
    ],
)
def test_files_are_those_of_the_training_loop(tmp_path, options, written, left):
    saving = SavingOptions(**options)
    counts = count_steps(10, 1, 1, 23, None)  # the third epoch ends after 3 of its 10 steps
    files = output_figures(tmp_path, saving, SamplingOptions(), AveragingOptions(), 0, counts).files
    expected, kept = simulate(saving, counts)
    assert [(file.name, file.step) for file in files] == expected
    assert {file.name for file in files if file.removed_at is None} == kept
    assert all(file.removed_at is None or file.removed_at > file.step for file in files)
    assert (len(files), len(kept)) == (written, left)


def test_files_of_averages(tmp_path):
    """Of each save two; and two snapshots at steps 5, 10, 15, 20 and 23."""
    saving = SavingOptions(save_every_n_epochs=1, save_last_n_epochs=1, output_name="n")
    averaging = AveragingOptions(ema_decay=0.9, ema_snapshots_every_n_steps=5)
    counts = count_steps(10, 1, 1, 23, None)
    figures = output_figures(tmp_path, saving, SamplingOptions(), averaging, 0, counts, 1000, 500)
    assert [(file.name, file.step, file.removed_at) for file in figures.files] == [
        ("n-000001.safetensors", 10, 20), ("n-000001-ema.safetensors", 10, 20), ("n-000002.safetensors", 20, None),
        ("n-000002-ema.safetensors", 20, None), ("n.safetensors", 23, None), ("n-ema.safetensors", 23, None),
    ]  # fmt: skip
    assert figures.snapshots == SnapshotFigures(str(tmp_path / "n-ema-snapshots"), 10, 500)
    assert figures.bytes_in_the_end == 4 * 1000 + 10 * 500


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, ()),
        ({"sample_at_first": True}, (0,)),
        ({"sample_every_n_steps": 10}, (10, 20)),
        ({"sample_every_n_epochs": 2, "sample_every_n_steps": 10, "sample_at_first": True}, (0, 20)),
        ({"sample_every_n_epochs": 1}, (10, 20, 23)),
        ({"sample_every_n_epochs": 0, "sample_every_n_steps": 0}, ()),
    ],
)
def test_previews(tmp_path, options, steps):
    sampling, counts = SamplingOptions(**options), count_steps(10, 1, 1, 23, None)
    assert output_figures(tmp_path, SavingOptions(), sampling, AveragingOptions(), 2, counts).preview_steps == steps
    assert output_figures(tmp_path, SavingOptions(), sampling, AveragingOptions(), 0, counts).preview_steps == ()
    drawn = [step for step in range(1, 24) if moment_after_step(sampling, step)]
    drawn += [counts.steps_after(epoch) for epoch in (1, 2, 3) if moment_after_epoch(sampling, epoch)]
    assert drawn == [step for step in steps if step]


def test_free_space_is_that_of_the_folder_that_will_hold_it(tmp_path):
    counts = count_steps(1, 1, 1, 1, None)
    figures = output_figures(
        tmp_path / "not" / "yet", SavingOptions(), SamplingOptions(), AveragingOptions(), 0, counts
    )
    assert figures.free_bytes > 0
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(
    ("options", "bytes_per_cell", "place"),
    [
        ({"cache_latents": True}, 4 * 4, "memory"),
        ({"cache_latents_to_disk": True}, 4 * 2, "caches"),
        ({"cache_latents_to_disk": True, "resample_latents": True}, 4 * 2 * 2, "caches"),
    ],
)
def test_bytes_of_latents(options, bytes_per_cell, place):
    """Mirrored pictures count as well; unused and held-out ones do not."""
    dataset = dataset_of(
        record("a.png", mask_path=Path("m.png")),
        record("b.png", (128, 128), (128, 64), alpha_mask=False),
        record("c.png", alpha_mask=True),
        record("d.png", subset=1),
        record("unused.png", repeats=0),
        subsets=(SubsetSettings(flip_aug=True), SubsetSettings(flip_aug=False)),
        held_out=[record("v.png")],
    )
    cells = 64 * (2 + 2 * 2 + 2 + 1)
    cells_of_masks = 64 * (2 + 2)
    (figures,) = cache_figures([dataset], CacheOptions(**options), LatentLayout(4, 8), Path("caches"))
    assert figures.bytes == cells * bytes_per_cell + cells_of_masks * 2
    assert (figures.what, figures.place, figures.is_limit) == ("latents", place, False)


def test_encoded_captions_take_at_most_their_budget():
    options = CacheOptions(cache_text_encoder_outputs=True, text_encoder_cache_budget=1.5)
    (figures,) = cache_figures([], options, LatentLayout(4, 8), Path("caches"))
    assert (figures.bytes, figures.place, figures.is_limit) == (3 * 2**29, "memory", True)
    assert not list(cache_figures([], CacheOptions(), LatentLayout(4, 8), Path("caches")))


def test_a_disk_without_room_is_told():
    full = CacheFigures("latents", "caches", 3 * 2**30, is_limit=False, free_bytes=2**30)
    limit = CacheFigures("encoded captions", "caches", 3 * 2**30, is_limit=True, free_bytes=2**30)
    enough = CacheFigures("latents", "caches", 2**30, is_limit=False, free_bytes=2**30)
    unknown = CacheFigures("latents", "memory", 2**40, is_limit=False, free_bytes=None)
    (notice,) = room_notices([full, limit, enough, unknown])
    assert "the latents take 3.0 GiB" in notice and "only 1.0 GiB are free in 'caches'" in notice


def test_network_files_that_do_not_fit_are_told(tmp_path):
    counts = count_steps(10, 1, 1, 23, None)
    saving = SavingOptions(save_every_n_epochs=1)

    def notices(bytes_each):
        return output_notices(
            output_figures(tmp_path, saving, SamplingOptions(), AveragingOptions(), 0, counts, bytes_each)
        )

    (notice,) = notices(2**60)
    assert notice.startswith("the network files take about ")
    assert "--save_last_n_epochs" in notice
    assert notices(1000) == notices(None) == []


def test_snapshots_that_do_not_fit_are_told(tmp_path):
    counts, averaging = count_steps(10, 1, 1, 23, None), AveragingOptions(ema_snapshots_every_n_steps=1)

    def notices(bytes_each, bytes_of_snapshot):
        figures = output_figures(
            tmp_path, SavingOptions(), SamplingOptions(), averaging, 0, counts, bytes_each, bytes_of_snapshot
        )
        return output_notices(figures)

    (notice,) = notices(1000, 2**60)
    assert notice.startswith("the network files take about ")
    assert "--ema_snapshots_every_n_steps" in notice
    assert notices(1000, 1000) == []
