"""The images of a run, as far as they are known before any pixel is read."""

from dataclasses import dataclass
from pathlib import Path

from library.dataset.aspect_buckets import Placement, Size
from library.options.dataset_settings import DatasetSettings


@dataclass(frozen=True)
class ImageRecord:
    """One image of one subset, with everything that stays the same over the run."""

    dataset: int
    """Index of the dataset among those of the run."""
    subset: int
    """Index of the subset in its dataset."""
    name: str
    """Path relative to the subset's folder, with forward slashes."""
    path: Path
    size: Size
    """Upright width and height of the file in pixels."""
    placement: Placement
    caption: str
    """As stored, before any caption rule."""
    repeats: int
    """Uses per epoch; 0 for regularisation images that are not needed."""
    is_reg: bool

    @property
    def image_id(self) -> str:
        """What seeds this image's draws: a folder that moves keeps them."""
        return f"{self.dataset}/{self.subset}/{self.name}"


@dataclass(frozen=True)
class Dataset:
    """The records of one dataset, in a fixed order, and its settings."""

    settings: DatasetSettings
    records: tuple[ImageRecord, ...]

    @property
    def num_train_images(self) -> int:
        """Images with their repeats, as in an epoch; without regularisation images."""
        return sum(record.repeats for record in self.records if not record.is_reg)
