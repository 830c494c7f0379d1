"""Which caption each exposure of the run gets, known before any of them is used: a pure function of the seed."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from library.dataset.batch_plan import Exposure, PlannedBatch
from library.dataset.captions.caption_rules import Moment, apply_caption_rules, warmup_steps, without_dropout
from library.dataset.records import Dataset, ImageRecord
from library.options.dataset_settings import SubsetSettings
from library.randomness import python_generator

_UsesOfImage = tuple[ImageRecord, list[tuple[int, int]]]
"""An image with the number and the step of each of its exposures."""


@dataclass(frozen=True)
class ExposedCaptions:
    """The captions of a run after the rules of their subsets."""

    datasets: Sequence[Dataset]
    seed: int
    max_train_steps: int
    variants: int | None = None
    """So many arrangements of its tags an image uses in turn; None = a new one for every exposure.

    Whether the caption is dropped is drawn anew for every exposure all the same: an image whose only variant had been
    dropped would never show its caption. A tag warm-up goes its way, too: it says how many of the tags are arranged.
    """

    def of_batch(self, batch: PlannedBatch) -> list[str]:
        moment = Moment(batch.epoch, batch.step, self.max_train_steps)
        return [self._of(exposure, moment) for exposure in batch.exposures]

    def of_run(self, batches: Iterable[PlannedBatch]) -> list[str]:
        """The distinct captions that training on these batches uses, in the order of their first use."""
        return list(dict.fromkeys(caption for batch in batches for caption in self.of_batch(batch)))

    def limited_to(self, budget: int, batches: Iterable[PlannedBatch]) -> "ExposedCaptions":
        """The same with the most variants whose distinct captions fit the budget, and without a limit when all fit.

        At least 1 variant, which fits wherever the budget holds one caption for each image, one more for each tag that
        a warm-up adds, and the empty one. Counted are the empty caption and every arrangement an image uses, also one
        whose exposures all happen to be dropped: the captions of the run are never more than that, and sometimes a
        few less.
        """
        images = self._uses_of_images(batches)
        most = 1 + max((number for _, uses in images for number, _ in uses), default=0)
        if self._fits(budget, images, most):
            return replace(self, variants=None)
        chosen, too_many = 1, most
        while too_many - chosen > 1:
            middle = (chosen + too_many) // 2
            if self._fits(budget, images, middle):
                chosen = middle
            else:
                too_many = middle
        return replace(self, variants=chosen)

    def _of(self, exposure: Exposure, moment: Moment) -> str:
        rules = self._rules(exposure.record)
        caption = self._draw(exposure.record, exposure.number, rules, moment)
        if self.variants is None or exposure.number < self.variants or not caption:
            return caption
        return self._draw(exposure.record, exposure.number % self.variants, without_dropout(rules), moment)

    def _draw(self, record: ImageRecord, number: int, rules: SubsetSettings, moment: Moment) -> str:
        rng = python_generator(self.seed, "caption", record.image_id, number)
        return apply_caption_rules(record.caption, rules, moment, rng)

    def _rules(self, record: ImageRecord) -> SubsetSettings:
        return self.datasets[record.dataset].rules_of(record)

    def _uses_of_images(self, batches: Iterable[PlannedBatch]) -> list[_UsesOfImage]:
        images: dict[str, _UsesOfImage] = {}
        for batch in batches:
            for exposure in batch.exposures:
                record = exposure.record
                # all steps after the warm-up are alike
                step = min(batch.step, math.ceil(warmup_steps(self._rules(record), self.max_train_steps)))
                images.setdefault(record.image_id, (record, []))[1].append((exposure.number, step))
        return list(images.values())

    def _fits(self, budget: int, images: Sequence[_UsesOfImage], variants: int) -> bool:
        seen = {""}
        for record, uses in images:
            rules = without_dropout(self._rules(record))
            for number, step in {(number % variants, step) for number, step in uses}:
                seen.add(self._draw(record, number, rules, Moment(0, step, self.max_train_steps)))
                if len(seen) > budget:
                    return False
        return True
