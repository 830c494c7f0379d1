"""Rules about keys of a dataset file that depend on each other.

A rule gets tables as they were written and yields what it finds; the reader adds the place.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from library.options.dataset_settings import OUTPUT_PRESERVATION, SubsetSettings
from library.options.findings import Finding, Notice, Problem

Table = Mapping[str, Any]

_USELESS_WITH_METADATA = {
    "caption_extension": "the metadata file holds the captions",
    "class_tokens": "the metadata file holds the captions",
    "is_reg": "regularisation images come from an image_dir without a metadata_file",
}


def check_dataset(dataset: Table, subsets: Sequence[Table]) -> Iterator[Finding]:
    """What is wrong with the kinds of subsets that a dataset has."""
    with_metadata = [subset.get("metadata_file") is not None for subset in subsets]
    if any(with_metadata) and not all(with_metadata):
        yield Problem(
            "subsets with a metadata_file and subsets without one cannot be mixed in one dataset; "
            "give each kind its own [[datasets]]"
        )
    elif any(with_metadata):
        yield from _useless_with_metadata(dataset)


def check_subset(written: Table, settings: SubsetSettings, masked_loss: bool) -> Iterator[Finding]:
    """
    Args:
        written: the subset's own table.
        settings: its values, inherited ones included.
        masked_loss: whether the run's option of this name is on.
    """
    has_masks = written.get("conditioning_data_dir") is not None
    if written.get("metadata_file") is not None:
        yield from _useless_with_metadata(written)
        if has_masks:
            yield Problem("conditioning_data_dir goes with image_dir alone, not with metadata_file")
    elif has_masks:
        yield from _about_masks(settings, masked_loss)
    yield from _about_attributes(settings.custom_attributes or {})


def _useless_with_metadata(table: Table) -> Iterator[Finding]:
    for name, reason in _USELESS_WITH_METADATA.items():
        if table.get(name):
            yield Problem(f"{name} does not go with metadata_file: {reason}; leave it out")


def _about_masks(settings: SubsetSettings, masked_loss: bool) -> Iterator[Finding]:
    if not masked_loss:
        yield Problem("conditioning_data_dir, a folder of masks, needs the option --masked_loss; add it")
    if settings.alpha_mask:
        yield Notice("alpha_mask has no effect, since the pictures in conditioning_data_dir are the masks")


def _about_attributes(attributes: Table) -> Iterator[Finding]:
    preserves = attributes.get(OUTPUT_PRESERVATION, False)
    if not isinstance(preserves, bool):
        yield Problem(f"custom_attributes: {OUTPUT_PRESERVATION} must be true or false, not {preserves!r}")
    others = [name for name in attributes if name != OUTPUT_PRESERVATION]
    if others:
        yield Notice(f"custom_attributes: nothing reads {', '.join(others)}")
