"""What there is to check: every image of a run and its caption, and what they are used for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from library.dataset.captions.caption_files import (
    CaptionFile,
    UnreadableCaption,
    find_caption_files,
    read_caption_files,
)
from library.dataset.findings import Findings
from library.dataset.records import Dataset, ListedImage
from library.dataset.scanning.subset_images import list_images
from library.options.dataset_settings import DatasetSettings, SubsetSettings


class Role(StrEnum):
    TRAINING = "training"
    REGULARISATION = "regularisation"
    VALIDATION = "validation"


@dataclass(frozen=True)
class LintedImage:
    path: Path
    role: Role
    rules: SubsetSettings
    dataset: DatasetSettings
    caption: str | None
    """what it is trained with, before any rule; None = nothing"""
    caption_files: tuple[Path, ...]
    """of which the first is used; none if a metadata file holds the caption"""
    mask: Path | None


@dataclass(frozen=True)
class LintedCaption:
    files: tuple[Path, ...]
    """where it stands"""
    text: str
    """may have several lines if wildcards are on"""
    role: Role
    rules: SubsetSettings

    @property
    def tags(self) -> list[str]:
        """Without blanks around them; empty ones are among them."""
        return [tag.strip() for line in self.text.split("\n") for tag in line.split(self.rules.caption_separator)]

    @property
    def as_used(self) -> str:
        """With prefix and suffix."""
        return " ".join(part for part in (self.rules.caption_prefix, self.text, self.rules.caption_suffix) if part)


@dataclass(frozen=True)
class Inventory:
    images: tuple[LintedImage, ...]
    """An image that several datasets use appears several times."""
    caption_files: dict[Path, CaptionFile | UnreadableCaption]
    """What the caption files hold that are used."""

    @property
    def by_path(self) -> dict[Path, LintedImage]:
        """Every image file once, as it is used first."""
        first: dict[Path, LintedImage] = {}
        for image in self.images:
            first.setdefault(image.path, image)
        return first

    @property
    def subsets(self) -> tuple[SubsetSettings, ...]:
        """Each folder or metadata file once."""
        return tuple({rules.metadata_file or rules.image_dir: rules for rules in map(_rules, self.images)}.values())

    def roles(self) -> dict[Path, set[Role]]:
        roles: dict[Path, set[Role]] = {}
        for image in self.images:
            roles.setdefault(image.path, set()).add(image.role)
        return roles

    def captions(self) -> list[LintedCaption]:
        """Captions that somebody wrote, each once."""
        found: dict[Path, LintedCaption] = {}
        for image in self.images:
            place = next(iter(image.caption_files), image.path)
            is_written = image.rules.metadata_file is not None or image.caption_files
            if image.caption and is_written and place not in found:
                found[place] = LintedCaption((place,), image.caption, image.role, image.rules)
        return list(found.values())


def take_inventory(datasets: Sequence[Dataset]) -> Inventory:
    """Also of images that the run leaves out, since they cannot be read."""
    images = tuple(image for dataset in datasets for image in _images(dataset))
    files_of_folders: dict[Path, list[Path]] = {}
    for file in dict.fromkeys(image.caption_files[0] for image in images if image.caption_files):
        files_of_folders.setdefault(file.parent, []).append(file)
    contents = {
        file: content
        for files in files_of_folders.values()
        for file, content in zip(files, read_caption_files(files), strict=True)
    }
    return Inventory(images, contents)


def _images(dataset: Dataset) -> Iterator[LintedImage]:
    held_out = {record.path for record in dataset.held_out}
    for rules in dataset.settings.subsets:
        if rules.num_repeats < 1:
            continue
        usual = Role.REGULARISATION if rules.is_reg else Role.TRAINING
        for listed in list_images(rules, Findings()):  # what is wrong with the folder, the scan has told
            role = Role.VALIDATION if listed.path in held_out else usual
            yield LintedImage(
                listed.path,
                role,
                rules,
                dataset.settings,
                listed.caption,
                _caption_files(listed, rules),
                listed.mask_path,
            )


def _caption_files(listed: ListedImage, rules: SubsetSettings) -> tuple[Path, ...]:
    return () if rules.metadata_file else tuple(find_caption_files(listed.path, rules.caption_extensions))


def _rules(image: LintedImage) -> SubsetSettings:
    return image.rules
