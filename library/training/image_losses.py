"""--log_image_losses: keeps the loss of every image of every step in a table, without making the device wait."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from library.dataset.batches.training_batch import TrainingBatch
from library.training.file_names import final_file
from library.training.host_copies import HostCopies
from library.training.image_loss_report.loss_table import ImageLoss, add_to_table, begin_table
from library.training.objective import BatchLosses

logger = logging.getLogger(__name__)

STEPS_BETWEEN_WRITES = 100
"""What is lost at most when a run is killed. Writing waits once for the device to finish the step, and takes
milliseconds."""


def image_losses_file(output_name: str | None) -> str:
    """Name of the table."""
    return final_file(output_name, "-image-losses.csv")


class ImageLossRecord:
    """Every process has one and tells it of each of its steps; the main process writes the table of them all.

    Only the rows since the last write are kept in memory. The table of an earlier run is replaced by the first write.
    """

    def __init__(self, path: Path, accelerator: Accelerator):
        self._path = path
        self._accelerator = accelerator
        self._copies: HostCopies[tuple[int, tuple[str | None, ...]]] = HostCopies()
        self._rows: list[ImageLoss] = []
        self._is_begun = False

    def after_step(self, step: int, batches: Sequence[TrainingBatch], losses: Sequence[BatchLosses]) -> None:
        """Of this process; every process must have the same steps. Images that count nothing are left out: those that
        turned out unreadable, and regularisation images of weight 0.

        Args:
            batches: as they came from the loader, on the CPU.
            losses: one for each batch.
        """
        for batch, of_batch in zip(batches, losses, strict=True):
            images = tuple(
                image if weight else None
                for image, weight in zip(batch.image_ids, batch.loss_weights.tolist(), strict=True)
            )
            columns = (of_batch.timesteps, of_batch.unweighted, of_batch.weighted)
            self._copies.send((step, images), torch.stack([column.detach().float() for column in columns]))
        self._collect()
        if step % STEPS_BETWEEN_WRITES == 0:
            self._write_all()

    @contextmanager
    def written_at_end(self) -> Iterator[None]:
        """For the whole training. When it fails, the main process writes what it has itself: the others may not take
        part any more."""
        try:
            yield
        except BaseException:
            with suppress(RuntimeError):  # a device that failed says so again
                self._collect()
            self._write(self._rows)
            raise
        self._write_all()

    def _collect(self, wait: bool = False) -> None:
        for (step, images), columns in self._copies.arrived(wait):
            for image, timestep, loss, weighted in zip(images, *columns.tolist(), strict=True):
                if image is not None:
                    self._rows.append(ImageLoss(step, image, int(timestep), loss, weighted))

    def _write_all(self) -> None:
        """A collective: every process takes part."""
        self._collect(wait=True)
        self._write(gather_object(self._rows))
        self._rows = []

    def _write(self, rows: Sequence[ImageLoss]) -> None:
        if not rows or not self._accelerator.is_main_process:
            return
        rows = sorted(rows, key=lambda row: row.step)
        write = add_to_table if self._is_begun else begin_table
        try:
            write(self._path, rows)
        except OSError as error:
            logger.error(
                "'%s' cannot be written: %s; the losses of the images of steps %d to %d are not kept",
                self._path, error.strerror or error, rows[0].step, rows[-1].step,
            )  # fmt: skip
            return
        if not self._is_begun:
            logger.info("the losses of single images are kept in %s", self._path)
        self._is_begun = True
