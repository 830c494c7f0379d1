"""The sizes of a folder's images, and what is said about those that cannot be used."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from library.dataset.buckets.aspect_buckets import Size
from library.dataset.findings import Findings, SkippedImage, examples
from library.dataset.images.image_files import UnreadableImageError
from library.dataset.images.image_headers import ImageHeader
from library.dataset.images.image_index import ImageIndex
from library.dataset.images.picture_files import check_mask
from library.dataset.records import ListedImage
from library.options.groups.dataset import UnreadableImages
from library.wording import counted

HEADER_READERS = 8
_IMAGES_AT_A_TIME = 32
_KINDS_SHOWN = 10


@dataclass(frozen=True)
class ImageReading:
    """How the images of a run are looked at."""

    index: ImageIndex = field(default_factory=ImageIndex)
    unreadable: UnreadableImages = "skip"


def read_image_sizes(
    images: Sequence[ListedImage], source: Path, reading: ImageReading, findings: Findings
) -> dict[Path, Size]:
    """Upright width and height of the images that can be used, as far as headers tell.

    The others are added to `findings`: as problems if that is asked for, else as skipped and one warning.

    Args:
        images: where one has a mask, that must be usable and of the same size, too.
        source: the folder or the file that lists them, for messages.
    """
    read = partial(_header_or_reason, index=reading.index)
    with ThreadPoolExecutor(HEADER_READERS) as pool:
        portions = pool.map(lambda portion: [read(image) for image in portion], _in_portions(images))
        found = dict(zip([image.path for image in images], chain.from_iterable(portions), strict=True))
    headers = {path: header for path, header in found.items() if isinstance(header, ImageHeader)}
    skipped = [SkippedImage(path, reason) for path, reason in found.items() if isinstance(reason, str)]
    report_skipped(skipped, len(images), source, reading.unreadable, findings)
    several = [path for path, header in headers.items() if header.several]
    if several:
        findings.warnings.append(_about_several(several, len(images), source))
    return {path: header.size for path, header in headers.items()}


def _in_portions(images: Sequence[ListedImage]) -> Iterator[Sequence[ListedImage]]:
    """To hand each image to a thread by itself takes as long as to look whether it is known."""
    return (images[start : start + _IMAGES_AT_A_TIME] for start in range(0, len(images), _IMAGES_AT_A_TIME))


def report_skipped(
    skipped: Sequence[SkippedImage], num_images: int, source: Path, unreadable: UnreadableImages, findings: Findings
) -> None:
    """Images of a source that cannot be used: as problems if that is asked for, else as one warning."""
    findings.skipped += skipped
    if unreadable == "error":
        findings.problems += [f"image '{one.path}': {one.reason}; replace or remove it" for one in skipped]
    elif skipped:
        findings.warnings.append(_about_skipped(skipped, num_images, source))


def _header_or_reason(image: ListedImage, index: ImageIndex) -> ImageHeader | str:
    try:
        header = index.header(image.path)
        if image.mask_path is not None:
            check_mask(image.mask_path, header.size, index)
    except UnreadableImageError as error:
        return str(error)
    return header


def _about_skipped(skipped: Sequence[SkippedImage], num_images: int, source: Path) -> str:
    by_reason: dict[str, list[Path]] = defaultdict(list)
    for one in skipped:
        by_reason[one.reason].append(one.path)
    kinds = sorted(by_reason.items(), key=lambda kind: -len(kind[1]))
    if len(kinds) > _KINDS_SHOWN + 1:  # a single one takes no more room than to say that there is one
        rare = [path for _, paths in kinds[_KINDS_SHOWN:] for path in paths]
        kinds = [*kinds[:_KINDS_SHOWN], ("other reasons", rare)]
    lines = [f"    {len(paths)}: {reason}: {examples(paths)}" for reason, paths in kinds]
    start = f"unusable, and so left out: {len(skipped)} of {counted(num_images, 'image')} in '{source}':"
    return "\n".join([start, *lines])


def _about_several(several: Sequence[Path], num_images: int, source: Path) -> str:
    return (
        f"several frames or pages, of which the first is used: {len(several)} of {counted(num_images, 'image')} in "
        f"'{source}': {examples(several)}"
    )
