"""Tells of images that turn out unreadable while training."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from library.dataset.batches.training_batch import TrainingBatch
from library.errors import UserError
from library.wording import counted, listed

logger = logging.getLogger(__name__)

EXAMPLES_SHOWN = 5


@dataclass
class UnreadableImages:
    """Names each image of this process's batches once: other processes train on others."""

    num_images: int
    """that the run trains on"""
    level: int = logging.WARNING
    _seen: dict[str, None] = field(default_factory=dict, init=False)
    _since_a_readable_one: set[str] = field(default_factory=set, init=False)

    def watch(self, batches: Iterator[TrainingBatch]) -> Iterator[TrainingBatch]:
        """The same batches.

        Raises:
            UserError: no image at all can be read any more.
        """
        for batch in batches:
            for image in batch.unreadable:
                if image not in self._seen:
                    self._seen[image] = None
                    logger.log(self.level, "unreadable, so that it counts nothing: %s", image)
            self._require_any(batch)
            yield batch

    def summarize(self) -> None:
        if not self._seen:
            return
        count = counted(len(self._seen), "image")
        images = listed(list(self._seen), EXAMPLES_SHOWN, separator="; ")
        more = " (named above)" if len(self._seen) > EXAMPLES_SHOWN else ""
        logger.log(self.level, "unreadable when needed, and so without effect: %s: %s%s", count, images, more)

    def _require_any(self, batch: TrainingBatch) -> None:
        """A drive that was unplugged must not use up the rest of the run, whose weights would only decay."""
        if len(batch.unreadable) < len(batch.image_ids):
            self._since_a_readable_one.clear()
            return
        self._since_a_readable_one.update(batch.image_ids)
        if len(self._since_a_readable_one) >= self.num_images:
            raise UserError(f"none of the images can be read, so that nothing is learned; {batch.unreadable[-1]}")
