"""Numbers about the captions of a run, and what some of them become when they are used."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from library.dataset.batch_plan import PlannedBatch
from library.dataset.exposed_captions import ExposedCaptions
from library.dataset.records import Dataset, ImageRecord
from library.metadata.dataset_metadata import tag_frequency

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
    """of these, images whose caption is their subset's class_tokens"""
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
        class_words=sum(bool(record.caption) and record.caption == _class_words(record, datasets) for record in used),
        tags=tuple(_all_tags(datasets).most_common()),
        examples=_examples(captions, first_batches),
    )


def _class_words(record: ImageRecord, datasets: Sequence[Dataset]) -> str | None:
    return datasets[record.dataset].settings.subsets[record.subset].class_tokens


def _all_tags(datasets: Sequence[Dataset]) -> Counter[str]:
    tags: Counter[str] = Counter()
    of_training = [
        replace(dataset, records=tuple(record for record in dataset.records if not record.is_reg))
        for dataset in datasets
    ]
    for of_folder in tag_frequency(of_training).values():
        tags.update(of_folder)
    return tags


def _examples(captions: ExposedCaptions, batches: Iterable[PlannedBatch]) -> tuple[CaptionExample, ...]:
    examples: dict[str, CaptionExample] = {}
    for batch in batches:
        for exposure, used in zip(batch.exposures, captions.of_batch(batch), strict=True):
            record = exposure.record
            examples.setdefault(record.image_id, CaptionExample(record.name, record.caption, used))
        if len(examples) >= EXAMPLES:
            break
    return tuple(examples.values())[:EXAMPLES]
