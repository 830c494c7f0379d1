"""The file with the losses: what is written is read again, and what is damaged or foreign is told."""

import os

import pytest

from library.errors import UserError
from library.training.image_loss_report import loss_table
from library.training.image_loss_report.loss_table import ImageLoss, add_to_table, begin_table, read_table

HEADER = "step,image,timestep,loss,weighted_loss\n"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "n-image-losses.csv"


def test_round_trip(file, monkeypatch):
    monkeypatch.setattr(loss_table, "_ROWS_AT_ONCE", 2)
    names = ("a, b.png", 'the "cat".png', "zwei\r\nZeilen.png", "\r", "猫.png", "a, b.png", "=1+1")
    rows = [ImageLoss(step, name, 10 * step, step / 8, step / 16) for step, name in enumerate(names, 1)]
    begin_table(file, rows[:3])
    add_to_table(file, rows[3:4])
    add_to_table(file, rows[4:])
    table = read_table(file)
    assert [table.images[number] for number in table.image] == list(names)
    assert len(table.images) == 6
    assert table.step.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert table.timestep.tolist() == [10, 20, 30, 40, 50, 60, 70]
    assert table.loss.tolist() == [step / 8 for step in range(1, 8)]
    assert table.weighted_loss.tolist() == [step / 16 for step in range(1, 8)]
    assert table.left_out == ()


def test_a_new_table_takes_the_place_of_an_old_one(file):
    for loss in (1.0, 2.0):
        begin_table(file, [ImageLoss(1, "a", 1, loss, loss)])
    assert read_table(file).loss.tolist() == [2.0]
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("portion", [1, 2, 3, 100])
def test_rows_that_were_cut_off_are_left_out(file, portion, monkeypatch):
    """Wherever the writing was interrupted, what was written before counts."""
    monkeypatch.setattr(loss_table, "_ROWS_AT_ONCE", portion)
    begin_table(file, [ImageLoss(1, "a", 1, 1.0, 1.0), ImageLoss(1, "b", 1, 2.0, 2.0)])
    complete = file.read_bytes()
    add_to_table(file, [ImageLoss(2, "ü\r\nc", 999, 3.25, 4.25)])
    longer = file.read_bytes()
    for end in range(len(complete), len(longer) - 1):
        file.write_bytes(longer[:end])
        table = read_table(file)
        assert table.loss.tolist() == [1.0, 2.0], longer[:end]
        assert table.images == ("a", "b")
        assert table.left_out == (() if end == len(complete) else ("the last row, which is incomplete",))


def test_rows_that_cannot_be_added_change_nothing(file, monkeypatch):
    begin_table(file, [ImageLoss(1, "a", 1, 1.0, 1.0)])
    before = file.read_bytes()

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        add_to_table(file, [ImageLoss(2, "a", 1, 1.0, 1.0)])
    assert file.read_bytes() == before


def test_a_table_that_is_gone_is_not_begun_in_the_middle(file):
    with pytest.raises(FileNotFoundError):
        add_to_table(file, [ImageLoss(2, "a", 1, 1.0, 1.0)])
    assert not file.exists()


def test_losses_that_are_not_finite_are_left_out(file):
    nan, inf = float("nan"), float("inf")
    begin_table(file, [ImageLoss(1, "a", 1, nan, nan), ImageLoss(1, "b", 2, 0.5, inf), ImageLoss(1, "c", 3, 0.25, 0.5)])
    table = read_table(file)
    assert (table.images, table.image.tolist(), table.loss.tolist()) == (("c",), [0], [0.25])
    assert table.left_out == ("2 rows whose loss is not finite",)


def test_a_table_that_a_spreadsheet_saved(file):
    file.write_bytes(b"\xef\xbb\xbf" + HEADER.encode() + b"1,a,5,0.5,0.25\n")
    assert read_table(file).loss.tolist() == [0.5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its first line is not 'step,image,timestep,loss,weighted_loss'"),
        (b"a,b\n1,2\n", "its first line is not"),
        (bytes(range(256)) * 9, "is no table of image losses"),
        (b"PK\x03\x04\x00", "is no table of image losses"),
        (HEADER.encode(), "holds no losses"),
        (HEADER.encode() + b"1,a,5", "holds no losses"),
        (HEADER.encode() + b"1,a,5,nan,nan\n", "holds no losses"),
        (HEADER.encode() + b"1,a,5,0.5\n1,a,5,0.5,0.5\n", "not all of its rows have the same number of columns"),
        (HEADER.encode() + b"1,a,5,0.5,0.5,0.5\n", "not all of its rows"),
        (HEADER.encode() + b"1,a,5,much,0.5\n", "could not convert string to float: .*'much'"),
        (HEADER.encode() + b"one,a,5,0.5,0.5\n", "invalid literal for int.*'one'"),
        (HEADER.encode() + b"1,a,1000,0.5,0.5\n", "a timestep is not among 0 to 999"),
        (HEADER.encode() + b"1,a,-1,0.5,0.5\n", "a timestep is not among 0 to 999"),
    ],
)
def test_foreign_and_empty_files(file, content, message):
    file.write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        read_table(file)
    assert f"'{file}'" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv' cannot be read: No such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read_table(tmp_path)
