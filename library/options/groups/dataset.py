"""Where the images are and how they are read, bucketed, augmented and cached."""

from pathlib import Path
from typing import ClassVar, Literal

from library.options.declaration import OptionGroup, option
from library.options.option_types import Resolution

DATASETS = "the remaining dataset options"

Interpolation = Literal["lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area", "box"]


class DataSourceOptions(OptionGroup):
    title: ClassVar[str] = "Dataset"

    train_data_dir: Path | None = option(
        help="Folder whose sub-folders are named REPEATS_CLASS, such as '10_sks dog'. Not with --dataset_config."
    )
    reg_data_dir: Path | None = option(help="The same for regularisation images.")
    dataset_config: Path | None = option(
        help="TOML file that describes datasets and subsets; what it sets beats the command line."
    )
    train_batch_size: int = option(1, ge=1, unit="images", help="Images per batch and device.")
    dataset_repeats: int = option(
        1, ge=0, unit="repeats", help="Repeats of subsets that name none themselves; folders named REPEATS_CLASS do."
    )
    in_json: Path | None = option(
        help="Metadata file (JSON or JSONL) that lists images and captions.", pending=DATASETS
    )
    cache_info: bool = option(False, help="Keep image sizes and captions in a file in each folder.", pending=DATASETS)
    dataset_class: str | None = option(help="Import path of a dataset class of your own.", pending=DATASETS)
    debug_dataset: bool = option(False, help="Show what would be trained, then stop.", pending=DATASETS)


class BucketOptions(OptionGroup):
    """Sizes, one set for each dataset."""

    title: ClassVar[str] = "Resolution and buckets"

    resolution: Resolution | None = option(
        unit="pixels", help="Training size: one number, or 'width,height'; with buckets only its area counts."
    )
    enable_bucket: bool = option(False, help="Sort images into buckets of similar aspect ratio instead of one size.")
    min_bucket_reso: int = option(
        256, ge=1, unit="pixels", help="Smallest bucket side; rounded down to a multiple of --bucket_reso_steps."
    )
    max_bucket_reso: int = option(
        1024, ge=1, unit="pixels", help="Largest bucket side; rounded up to a multiple of --bucket_reso_steps."
    )
    bucket_reso_steps: int = option(
        64, ge=1, unit="pixels", help="Bucket sides are multiples of this; SD 1.x and 2.x need a multiple of 64."
    )
    bucket_no_upscale: bool = option(
        False, help="Never enlarge an image: each makes its own bucket. Minimum and maximum side are then ignored."
    )
    resize_interpolation: Interpolation | None = option(
        help="Resampling filter; default: area for shrinking, lanczos for enlarging.", pending=DATASETS
    )


class AugmentationOptions(OptionGroup):
    """Changes of the picture, one set for each subset."""

    title: ClassVar[str] = "Augmentation"

    flip_aug: bool = option(False, help="Mirror each image with probability one half each time it is used.")
    color_aug: bool = option(False, help="Change hue and gamma a little at random.", pending=DATASETS)
    random_crop: bool = option(False, help="Crop at a random place instead of the centre.", pending=DATASETS)
    face_crop_aug_range: str | None = option(
        help="'min,max' zoom for crops around a face whose place the file name tells.", pending=DATASETS
    )
    alpha_mask: bool = option(False, help="Use the images' alpha channel as loss mask.", pending=DATASETS)


class CacheOptions(OptionGroup):
    title: ClassVar[str] = "Caches"

    cache_latents: bool = option(False, help="Encode all images once, before training, and keep the latents in memory.")
    vae_batch_size: int = option(1, ge=1, unit="images", help="Images encoded by the VAE at a time.")
    cache_latents_to_disk: bool = option(False, help="Keep the latents on disk for the next run.", pending=DATASETS)
    skip_cache_check: bool = option(False, help="Trust existing cache files without looking at them.", pending=DATASETS)
    cache_text_encoder_outputs: bool = option(
        False,
        help="Encode all captions that the run will use once, before training, shuffled and dropped ones included; "
        "the text encoders then leave the GPU. Needs --network_train_unet_only.",
    )
    cache_text_encoder_outputs_to_disk: bool = option(
        False, help="The same, kept on disk for the next run: see --cache_dir."
    )
    text_encoder_cache_budget: float = option(
        4.0,
        gt=0,
        unit="GiB",
        help="Most that encoded captions may take. If the run uses more different captions, each image gets as many "
        "variants as fit, and the run says how many.",
    )
    cache_dir: Path | None = option(
        help="Folder for caches on disk; default: a folder '.cache' beside the first images."
    )

    @property
    def caches_text(self) -> bool:
        return self.cache_text_encoder_outputs or self.cache_text_encoder_outputs_to_disk


class LoaderOptions(OptionGroup):
    title: ClassVar[str] = "Data loading"

    max_data_loader_n_workers: int = option(
        8, ge=0, unit="processes", help="Most worker processes that prepare batches; never more than there are cores."
    )
    persistent_data_loader_workers: bool = option(False, help="Keep the worker processes alive between epochs.")
