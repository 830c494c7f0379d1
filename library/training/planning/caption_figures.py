"""Numbers about the captions of a run, and what some of them become when they are used."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from library.dataset.batch_plan import PlannedBatch
from library.dataset.captions.caption_files import find_caption_files
from library.dataset.captions.caption_rules import stored_tags
from library.dataset.captions.exposed_captions import ExposedCaptions
from library.dataset.records import Dataset, ImageRecord
from library.options.dataset_settings import SubsetSettings

EXAMPLES = 5
"""Captions that are shown in full."""


@dataclass(frozen=True)
class CaptionExample:
    image: str
    """file name"""
    stored: str
    used: str
    """at one exposure, after the rules of its subset; may be empty"""


@dataclass(frozen=True)
class CaptionFigures:
    images: int
    """that are used"""
    without: int
    """of these, images that nothing gives a caption"""
    empty: int
    """of these, images whose caption has no word"""
    class_words: int
    """of these, images whose caption is their subset's class_tokens, for want of a file"""
    tags: tuple[tuple[str, int], ...]
    """every tag of the stored captions in lower case, and how often it is in them, most frequent first; without
    regularisation images"""
    examples: tuple[CaptionExample, ...]
    """as the first images of the run have them"""


def caption_figures(captions: ExposedCaptions, first_batches: Iterable[PlannedBatch]) -> CaptionFigures:
    datasets = captions.datasets
    used = [record for dataset in datasets for record in dataset.records if record.repeats]
    return CaptionFigures(
        images=len(used),
        without=sum(not record.has_caption for record in used),
        empty=sum(record.has_caption and not record.caption for record in used),
        class_words=sum(_has_class_words(record, _rules(record, datasets)) for record in used),
        tags=tuple(_all_tags(datasets).most_common()),
        examples=_examples(captions, first_batches),
    )


def _rules(record: ImageRecord, datasets: Sequence[Dataset]) -> SubsetSettings:
    return datasets[record.dataset].rules_of(record)


def _has_class_words(record: ImageRecord, rules: SubsetSettings) -> bool:
    """Whether they stand in. A file, or a metadata file, may say the same."""
    if not record.caption or record.caption != rules.class_tokens or rules.metadata_file is not None:
        return False
    return not find_caption_files(record.path, rules.caption_extensions)


def _all_tags(datasets: Sequence[Dataset]) -> Counter[str]:
    """An image that several datasets use is counted once."""
    captions = {
        (record.path, record.caption): _rules(record, datasets)
        for dataset in datasets
        for record in dataset.records
        if not record.is_reg
    }
    return Counter(tag.lower() for (_, caption), rules in captions.items() for tag in stored_tags(caption, rules))


def _examples(captions: ExposedCaptions, batches: Iterable[PlannedBatch]) -> tuple[CaptionExample, ...]:
    examples: dict[str, CaptionExample] = {}
    for batch in batches:
        for exposure, used in zip(batch.exposures, captions.of_batch(batch), strict=True):
            record = exposure.record
            examples.setdefault(record.image_id, CaptionExample(record.name, record.caption, used))
        if len(examples) >= EXAMPLES:
            break
    return tuple(examples.values())[:EXAMPLES]
