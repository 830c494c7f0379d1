"""Which caption each exposure of the run gets, known before any of them is used: a pure function of the seed."""

from collections.abc import Iterable, Sequence

from library.dataset.batch_plan import Exposure, PlannedBatch
from library.dataset.caption_rules import apply_caption_rules, without_dropout
from library.dataset.records import Dataset, ImageRecord
from library.options.dataset_settings import SubsetSettings
from library.options.groups import CaptionOptions
from library.randomness import python_generator


def caption_of(exposure: Exposure, epoch: int, rules: CaptionOptions, seed: int, variants: int | None = None) -> str:
    """The caption of one exposure after its subset's rules.

    Args:
        epoch: counted from 0.
        variants: so many arrangements of its tags an image uses in turn; None = a new one for every exposure.
            Whether the caption is dropped is drawn anew for every exposure all the same: an image whose only
            variant had been dropped would never show its caption.
    """
    caption = _draw(exposure.record, exposure.number, epoch, rules, seed)
    if variants is None or exposure.number < variants or not caption:
        return caption
    return _draw(exposure.record, exposure.number % variants, epoch, without_dropout(rules), seed)


def captions_of_run(
    batches: Iterable[PlannedBatch], datasets: Sequence[Dataset], seed: int, variants: int | None = None
) -> list[str]:
    """The distinct captions that training on these batches uses, in the order of their first use."""
    captions = (
        caption_of(exposure, batch.epoch, _rules_of(exposure.record, datasets), seed, variants)
        for batch in batches
        for exposure in batch.exposures
    )
    return list(dict.fromkeys(captions))


def variants_within(budget: int, batches: Iterable[PlannedBatch], datasets: Sequence[Dataset], seed: int) -> int | None:
    """The largest number of variants per image with which the distinct captions fit the budget; None when all fit.

    At least 1, which fits wherever the budget holds one caption for each image and the empty one. Counted are the
    empty caption and every arrangement an image may use, also one whose exposures all happen to be dropped: the
    captions of the run are never more than that, and sometimes a few less.
    """
    last = _last_exposures(batches)
    seen = {""}
    number = 0
    while last:
        for exposure in last:
            rules = without_dropout(_rules_of(exposure.record, datasets))
            seen.add(_draw(exposure.record, number, 0, rules, seed))
            if len(seen) > budget:
                return max(number, 1)
        number += 1
        last = [exposure for exposure in last if exposure.number >= number]
    return None


def _last_exposures(batches: Iterable[PlannedBatch]) -> list[Exposure]:
    """Of every image the exposure with the highest number."""
    last: dict[str, Exposure] = {}
    for batch in batches:
        for exposure in batch.exposures:
            known = last.setdefault(exposure.record.image_id, exposure)
            if exposure.number > known.number:
                last[exposure.record.image_id] = exposure
    return list(last.values())


def _rules_of(record: ImageRecord, datasets: Sequence[Dataset]) -> SubsetSettings:
    return datasets[record.dataset].settings.subsets[record.subset]


def _draw(record: ImageRecord, number: int, epoch: int, rules: CaptionOptions, seed: int) -> str:
    rng = python_generator(seed, "caption", record.image_id, number)
    return apply_caption_rules(record.caption, rules, epoch + 1, rng)
