"""The images of a run, as far as they are known before any pixel is read."""

from dataclasses import dataclass
from pathlib import Path

from library.dataset.buckets.aspect_buckets import Placement, Size
from library.options.dataset_settings import DatasetSettings, SubsetSettings


@dataclass(frozen=True)
class ListedImage:
    """An image that a folder holds or a metadata file lists; whether it can be read is not known yet."""

    path: Path
    name: str
    """See ImageRecord."""
    caption: str | None
    """None: it has none, not even an empty one."""
    mask_path: Path | None = None


@dataclass(frozen=True)
class ImageRecord:
    """One image of one subset, with everything that stays the same over the run."""

    dataset: int
    """Index of the dataset among those of the run."""
    subset: int
    """Index of the subset in its dataset."""
    name: str
    """Path relative to the subset's folder, with forward slashes; of one elsewhere, what its metadata file says."""
    path: Path
    size: Size
    """Upright width and height of the file in pixels."""
    placement: Placement
    caption: str
    """As stored, before any caption rule."""
    repeats: int
    """Uses per epoch; 0 for regularisation images that are not needed."""
    is_reg: bool
    alpha_mask: bool = False
    """The image's own transparency says how much each pixel counts in the loss."""
    mask_path: Path | None = None
    """A picture of the same stem whose red channel says how much each pixel counts; beats transparency."""
    has_caption: bool = True
    """False: its empty caption is nobody's wish, but for want of one."""

    @property
    def image_id(self) -> str:
        """What seeds this image's draws: a folder that moves keeps them."""
        return f"{self.dataset}/{self.subset}/{self.name}"


@dataclass(frozen=True)
class Dataset:
    """The records of one dataset, in a fixed order, and its settings."""

    settings: DatasetSettings
    records: tuple[ImageRecord, ...]
    """What is trained on."""
    held_out: tuple[ImageRecord, ...] = ()
    """Images kept for validation: never trained on."""

    def rules_of(self, record: ImageRecord) -> SubsetSettings:
        """The settings of the subset that an image of this dataset belongs to."""
        return self.settings.subsets[record.subset]

    @property
    def preserves_output(self) -> bool:
        """Whether there are images on which the network is to change nothing."""
        return any(subset.preserves_output for subset in self.settings.subsets)

    @property
    def num_train_images(self) -> int:
        """Images with their repeats, as in an epoch; without regularisation images."""
        return sum(record.repeats for record in self.records if not record.is_reg)
