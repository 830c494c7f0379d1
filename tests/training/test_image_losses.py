"""--log_image_losses: which losses are kept, and when they are written."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from library.training import image_losses
from library.training.image_losses import ImageLossRecord, image_losses_file
from library.training.objective import BatchLosses
from tests.training.command import as_words, least_arguments
from tests.training.running import logged, run

ROOT = Path(__file__).parents[2]


def batch_of(*images, weights=None):
    return SimpleNamespace(image_ids=images, loss_weights=torch.tensor(weights or [1.0] * len(images)))


def losses_of(timesteps, unweighted, factor=2.0):
    values = torch.tensor(unweighted)
    return BatchLosses((values * factor).requires_grad_(), values, torch.tensor(timesteps))


def rows_of(file: Path) -> list[list[str]]:
    with open(file, encoding="utf-8", newline="") as opened:
        header, *rows = csv.reader(opened)
    assert header == ["step", "image", "timestep", "loss", "weighted_loss"]
    return rows


@pytest.fixture
def file(tmp_path):
    return tmp_path / image_losses_file("n")


@pytest.fixture
def record(file):
    return ImageLossRecord(file, SimpleNamespace(is_main_process=True))


def test_name_of_the_table():
    assert image_losses_file("my dog") == "my dog-image-losses.csv"
    assert image_losses_file(None) == "last-image-losses.csv"


def test_rows_of_all_batches_of_a_step(record, file):
    with record.written_at_end():
        batches = [batch_of("0/0/a.png", "0/0/b.png"), batch_of('0/1/ö, "x"\r\n.png')]
        record.after_step(1, batches, [losses_of([999, 0], [0.5, 0.123456789]), losses_of([7], [3e-9])])
        assert not file.exists()
    assert rows_of(file) == [
        ["1", "0/0/a.png", "999", "0.5", "1"],
        ["1", "0/0/b.png", "0", "0.123457", "0.246914"],
        ["1", '0/1/ö, "x"\r\n.png', "7", "3e-09", "6e-09"],
    ]


def test_images_that_count_nothing_are_left_out(record, file):
    with record.written_at_end():
        record.after_step(
            1, [batch_of("a", "b", "c", weights=[1.0, 0.0, 0.5])], [losses_of([1, 2, 3], [1.0, 2.0, 3.0])]
        )
    assert [row[1] for row in rows_of(file)] == ["a", "c"]


def test_names_that_no_encoding_can_write(record, file):
    with record.written_at_end():
        record.after_step(1, [batch_of("0/0/\udce4.png")], [losses_of([1], [1.0])])
    assert rows_of(file)[0][1] == "0/0/\\udce4.png"


def test_written_every_so_many_steps_and_added_to(record, file, monkeypatch):
    monkeypatch.setattr(image_losses, "STEPS_BETWEEN_WRITES", 2)
    file.write_text("of an earlier run")
    written = []
    with record.written_at_end():
        for step in range(1, 6):
            record.after_step(step, [batch_of("a")], [losses_of([step], [1.0])])
            written.append([int(row[0]) for row in rows_of(file)] if step > 1 else file.read_text())
            assert len(record._rows) < 2
    assert written == ["of an earlier run", [1, 2], [1, 2], [1, 2, 3, 4], [1, 2, 3, 4]]
    assert [int(row[0]) for row in rows_of(file)] == [1, 2, 3, 4, 5]


def test_what_a_failing_run_has_is_written(record, file):
    with pytest.raises(ZeroDivisionError), record.written_at_end():
        record.after_step(1, [batch_of("a")], [losses_of([1], [float("nan")])])
        raise ZeroDivisionError
    assert rows_of(file) == [["1", "a", "1", "nan", "nan"]]


def test_a_run_without_steps_writes_nothing(record, file):
    with record.written_at_end():
        pass
    assert not file.exists()


def test_rows_of_all_processes_sorted_by_step(file, monkeypatch):
    others = [(step, "other", 5, 1.0, 1.0) for step in (1, 2)]
    monkeypatch.setattr(image_losses, "gather_object", lambda rows: [*rows, *map(image_losses.ImageLoss._make, others)])
    for is_main in (False, True):
        record = ImageLossRecord(file, SimpleNamespace(is_main_process=is_main))
        with record.written_at_end():
            for step in (1, 2):
                record.after_step(step, [batch_of("mine")], [losses_of([step], [1.0])])
        assert file.exists() == is_main
    assert [(row[0], row[1]) for row in rows_of(file)] == [
        ("1", "mine"), ("1", "other"), ("2", "mine"), ("2", "other"),
    ]  # fmt: skip


def test_a_full_disk_costs_rows_but_not_the_training(record, file, monkeypatch, caplog):
    monkeypatch.setattr(image_losses, "STEPS_BETWEEN_WRITES", 1)

    def fail(path, rows):
        raise OSError(28, "No space left on device")

    with record.written_at_end():
        for step in range(1, 5):
            with monkeypatch.context() as patched:
                if step in (1, 3):
                    patched.setattr(image_losses, "begin_table", fail)
                    patched.setattr(image_losses, "add_to_table", fail)
                record.after_step(step, [batch_of("a")], [losses_of([step], [1.0])])
    assert [row[0] for row in rows_of(file)] == ["2", "4"]
    assert f"'{file}' cannot be written: No space left on device" in caplog.text
    assert "of steps 1 to 1 are not kept" in caplog.text
    assert "of steps 3 to 3 are not kept" in caplog.text


@pytest.fixture
def arguments(tiny_model, train_data_dir, tmp_path):
    arguments = least_arguments(tiny_model, train_data_dir, tmp_path / "out")
    return {**arguments, "--cache_latents": None, "--gradient_accumulation_steps": "2", "--min_snr_gamma": "1"}


def test_a_run_keeps_the_losses_it_was_trained_on(arguments, tmp_path):
    """The mean of a step's weighted losses is the loss in the log."""
    run(arguments, log_image_losses=True, logging_dir=tmp_path / "logs")
    rows = rows_of(tmp_path / "out" / "tiny-image-losses.csv")
    losses = logged(tmp_path / "logs", "loss/current")
    assert len(losses) == 4
    for step, loss in enumerate(losses, 1):
        weighted = [float(row[4]) for row in rows if row[0] == str(step)]
        assert len(weighted) == 2
        assert sum(weighted) / 2 == pytest.approx(loss, rel=1e-5)
    assert {row[1] for row in rows} <= {f"0/0/image {number}.png" for number in range(5)}
    assert all(float(row[4]) <= float(row[3]) for row in rows)
    assert any(float(row[4]) < 0.9 * float(row[3]) for row in rows)
    assert [int(row[0]) for row in rows] == sorted(int(row[0]) for row in rows)


@pytest.mark.slow
def test_two_processes_write_one_table(arguments, tmp_path):
    single = run(arguments, log_image_losses=True)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "train_network.py")
    words = as_words({**arguments, "--output_dir": str(tmp_path / "two"), "--gradient_accumulation_steps": "1"})
    result = subprocess.run(
        [sys.executable, *launcher, *words, "--log_image_losses"],
        cwd=ROOT, env=os.environ | {"ACCELERATE_USE_CPU": "true"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    alone, together = (rows_of(folder / "tiny-image-losses.csv") for folder in (single.parent, tmp_path / "two"))
    assert len(alone) == 8
    assert sorted(row[:3] for row in alone) == sorted(row[:3] for row in together)
    assert [int(row[0]) for row in together] == [1, 1, 2, 2, 3, 3, 4, 4]
    for row, other in zip(sorted(alone), sorted(together), strict=True):
        assert float(row[3]) == pytest.approx(float(other[3]), rel=1e-3)
