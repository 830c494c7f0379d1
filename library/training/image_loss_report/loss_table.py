"""The table of image losses: a CSV file (RFC 4180, UTF-8) with a row for each image of each step.

Rows are only ever added, so that what was written stays. Whatever interrupts the writing can spoil no more than the
last row, and a reader tells a spoilt one: it is too short, or has no line end.
"""

import csv
import errno
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from library.atomic_files import atomic_path
from library.errors import UserError
from library.wording import counted, writable


class ImageLoss(NamedTuple):
    """One row; the names of the fields are the columns' names."""

    step: int
    """optimizer step, from 1"""
    image: str
    """id: dataset, subset and name, such as 0/0/cat.png"""
    timestep: int
    loss: float
    """before any weighting"""
    weighted_loss: float
    """as it was trained on"""


NUM_TIMESTEPS = 1000
"""That there can be, from 0."""

_ROWS_AT_ONCE = 100_000


def begin_table(path: Path, rows: Sequence[ImageLoss]) -> None:
    """Writes a new file, atomically.

    Raises:
        OSError: it cannot be written; a file that was there before is untouched.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(_as_csv([ImageLoss._fields, *map(_row, rows)]))


def add_to_table(path: Path, rows: Sequence[ImageLoss]) -> None:
    """
    Raises:
        OSError: the rows cannot be written, or the file is gone; of what exists nothing changes.
    """
    content = _as_csv(map(_row, rows))
    with open(path, "r+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            if file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def _row(loss: ImageLoss) -> tuple[str, ...]:
    image = writable(loss.image)
    return str(loss.step), image, str(loss.timestep), f"{loss.loss:.6g}", f"{loss.weighted_loss:.6g}"


def _as_csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8")


@dataclass(frozen=True)
class ImageLossTable:
    """The columns; arrays have the shape (rows,)."""

    images: tuple[str, ...]
    """ids, in the order of their first row"""
    image: NDArray[np.intp]
    """index of the row's image"""
    step: NDArray[np.int64]
    timestep: NDArray[np.int64]
    loss: NDArray[np.float64]
    weighted_loss: NDArray[np.float64]
    left_out: tuple[str, ...] = ()
    """Says which rows of the file are not among these, and why."""


def read_table(path: Path) -> ImageLossTable:
    """
    Raises:
        UserError: the file cannot be read, is something else, or holds no losses.
    """
    try:
        is_cut_off = _is_cut_off(path)
        # what is no text at all is told by its header
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            table = _table_of(csv.reader(file), is_cut_off)
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror or error}") from None
    except (ValueError, csv.Error) as error:
        raise UserError(
            f"'{path}' is no table of image losses: {error}; name a file NAME-image-losses.csv, "
            "which training writes with --log_image_losses"
        ) from None
    if not len(table.loss):
        raise UserError(f"'{path}' holds no losses: nothing was trained yet")
    return table


def _is_cut_off(path: Path) -> bool:
    """Whether the last line has no end."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        return file.read() not in (b"", b"\n")


def _table_of(reader: Iterator[list[str]], is_cut_off: bool) -> ImageLossTable:
    """
    Raises:
        ValueError: there are other columns, or there is something else in them.
        csv.Error: the file is binary.
    """
    header = tuple(next(reader, ()))
    if header != ImageLoss._fields:
        raise ValueError(f"its first line is not '{','.join(ImageLoss._fields)}'")
    images: dict[str, int] = {}
    portions, is_spoilt = [_columns_of([], images)], False
    portion = list(islice(reader, _ROWS_AT_ONCE))
    while portion:
        following = list(islice(reader, _ROWS_AT_ONCE))
        if not following and (is_cut_off or len(portion[-1]) < len(header)):
            portion.pop()
            is_spoilt = True
        portions.append(_columns_of(portion, images))
        portion = following
    step, image, timestep, loss, weighted = (np.concatenate(parts) for parts in zip(*portions, strict=True))
    if not np.isin(timestep, np.arange(NUM_TIMESTEPS)).all():
        raise ValueError(f"a timestep is not among 0 to {NUM_TIMESTEPS - 1}")
    is_finite = np.isfinite(loss) & np.isfinite(weighted)
    notes = ["the last row, which is incomplete"] if is_spoilt else []
    if not is_finite.all():
        notes.append(f"{counted(int((~is_finite).sum()), 'row')} whose loss is not finite")
    with_rows, image = np.unique(image[is_finite], return_inverse=True)
    names = list(images)
    return ImageLossTable(
        images=tuple(names[number] for number in with_rows),
        image=image,
        step=step[is_finite],
        timestep=timestep[is_finite],
        loss=loss[is_finite],
        weighted_loss=weighted[is_finite],
        left_out=tuple(notes),
    )


def _columns_of(rows: Sequence[Sequence[str]], images: dict[str, int]) -> tuple[NDArray[Any], ...]:
    """
    Args:
        images: those known up to now, and their numbers; gets new ones.

    Raises:
        ValueError: a row has more or fewer columns, or something else than numbers in them.
    """
    if any(len(row) != len(ImageLoss._fields) for row in rows):
        raise ValueError("not all of its rows have the same number of columns")
    steps, names, timesteps, losses, weighted = zip(*rows, strict=True) if rows else [()] * len(ImageLoss._fields)
    return (
        np.array(steps, np.int64),
        np.array([images.setdefault(name, len(images)) for name in names], np.intp),
        np.array(timesteps, np.int64),
        np.array(losses, np.float64),
        np.array(weighted, np.float64),
    )
