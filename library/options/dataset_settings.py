"""What can be set for datasets and their subsets; `dataset_file` reads it from files."""

from pathlib import Path
from typing import Any

from library.options.declaration import option
from library.options.groups import AugmentationOptions, BucketOptions, CaptionOptions
from library.options.option_types import Replacements
from library.options.schema import specs_of

OUTPUT_PRESERVATION = "diff_output_preservation"
"""The custom attribute of images on which the network is to change nothing."""


class SubsetSettings(CaptionOptions, AugmentationOptions):
    """One folder of images, or of what a metadata file lists, and how they are used."""

    image_dir: Path = option(
        Path(), help="Folder with the images. With metadata_file it may be left out: default is that file's folder."
    )
    metadata_file: Path | None = option(help="JSON or JSONL file that lists images and captions.")
    conditioning_data_dir: Path | None = option(
        help="Folder with one mask per image, of the same name but for the extension; needs --masked_loss."
    )
    recursive: bool = option(False, help="Search the folders inside image_dir as well.")
    num_repeats: int = option(1, ge=0, unit="repeats", help="How often each image is used in an epoch.")
    is_reg: bool = option(False, help="The images are regularisation images.")
    class_tokens: str | None = option(help="Caption of images without a caption file.")
    caption_replacements: Replacements | None = option(
        help='Texts that are replaced in captions after all other rules, such as { "sks" = "sks dog" }; of a list, one '
        'is chosen each time. The text "" stands for the whole caption.'
    )
    validation_split: float = option(0.0, ge=0, le=1, unit="share", help="Share of the images that is held out.")
    validation_seed: int | None = option(ge=0, help="Seed of that choice.")
    custom_attributes: dict[str, Any] | None = option(
        help="Attributes for the training method: { diff_output_preservation = true } trains the network to leave as "
        "it is what the model predicts for these images."
    )
    cache_info: bool = option(False, help="Keep the sizes of images in a file in the cache folder.")

    @property
    def preserves_output(self) -> bool:
        """Whether the network is to change nothing on these images."""
        return bool((self.custom_attributes or {}).get(OUTPUT_PRESERVATION))


class DatasetSettings(BucketOptions):
    """Subsets that share a resolution and a batch size."""

    batch_size: int = option(1, ge=1, unit="images", help="Images per batch and device.")
    network_multiplier: float = option(1.0, help="Strength that the network works with on these images.")
    subsets: tuple[SubsetSettings, ...] = ()


SUBSET_KEYS = {name: spec for name, spec in specs_of(SubsetSettings, "subset").items() if name != "caption_extention"}
DATASET_KEYS = {name: spec for name, spec in specs_of(DatasetSettings, "dataset").items() if name != "subsets"}
SUBSET_ONLY = frozenset({"image_dir", "is_reg", "metadata_file", "conditioning_data_dir"})
RENAMED = {"batch_size": "train_batch_size", "num_repeats": "dataset_repeats"}
"""Keys of a dataset file -> the option of the run that stands in for them."""
NOT_OF_RUN = frozenset({"conditioning_data_dir"})
"""Keys for which no option stands in: the option of this name is about --train_data_dir."""
