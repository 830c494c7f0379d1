"""The report on image losses as text for a terminal."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from library.training.image_loss_report.difficulty import (
    CONFIDENCE,
    LEAST_LOSSES,
    LEAST_OF_IMAGE,
    Difficulties,
    Integers,
    TimestepBins,
    bin_losses,
)
from library.training.image_loss_report.loss_table import NUM_TIMESTEPS, ImageLossTable
from library.wording import counted, writable

TIMESTEPS_PER_LINE = 100


def report_lines(path: Path, table: ImageLossTable, found: Difficulties, most: int) -> Iterator[str]:
    """
    Args:
        most: images shown of the hardest, and of the easiest.
    """
    losses, images = counted(len(table.loss), "loss", "losses"), counted(len(table.images), "image")
    yield f"{path}: {losses} of {images}, steps {table.step.min()} to {table.step.max()}"
    yield from (f"left out: {note}" for note in table.left_out)
    yield ""
    yield from _bin_lines(bin_losses(table, np.arange(0, NUM_TIMESTEPS, TIMESTEPS_PER_LINE)))
    if len(table.images) == 1:
        return
    yield ""
    if not found.is_judged.any():
        yield too_few(found)
        return
    yield "The hardest images: loss / what is usual at the same timesteps"
    yield from _image_lines(table, found, found.hardest(most))
    yield ""
    yield "The easiest images"
    yield from _image_lines(table, found, found.easiest(most))
    yield ""
    yield (
        f"* {found.is_clear.sum()} of {images} differ from 1 by more than chance gives to any of so many "
        f"({CONFIDENCE:.0%} confidence)"
    )
    if not found.is_judged.all():
        unjudged = counted(int((~found.is_judged).sum()), "image")
        yield f"{unjudged} with fewer than {LEAST_OF_IMAGE} losses: not judged"


def too_few(found: Difficulties) -> str:
    """Why no image can be judged."""
    total = int(found.count.sum())
    if total < LEAST_LOSSES:
        return f"too few losses ({total}) to tell images from timesteps: it takes {LEAST_LOSSES}; train longer"
    most = counted(int(found.count.max()), "loss", "losses")
    return f"too few losses of each image (at most {most}) to judge it: it takes {LEAST_OF_IMAGE}; train longer"


def _bin_lines(bins: TimestepBins) -> Iterator[str]:
    yield "timesteps    losses  mean loss   weighted"
    for first, last, count, loss, weighted in zip(
        bins.first, bins.last, bins.count, bins.loss, bins.weighted_loss, strict=True
    ):
        yield f"{first:4d} - {last:3d} {count:8d} {loss:10.4f} {weighted:10.4f}"


def _image_lines(table: ImageLossTable, found: Difficulties, images: Integers) -> Iterator[str]:
    yield "    ratio   error  losses  image"
    for image in images:
        mark = "*" if found.is_clear[image] else " "
        numbers = f"{found.ratio[image]:7.3f} {found.error[image]:7.3f} {found.count[image]:7d}"
        yield f"{mark} {numbers}  {shown_name(table.images[image])}"


def shown_name(image: str) -> str:
    """In one line, and without what a terminal would obey."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in writable(image)
    )
