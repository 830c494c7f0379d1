"""Where the images are and how they are read, bucketed, augmented and cached."""

from pathlib import Path
from typing import ClassVar, Literal

from library.options.declaration import OptionGroup, option
from library.options.option_types import Resolution, ZoomRange

UnreadableImages = Literal["skip", "error", "stop"]
Interpolation = Literal["lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area", "box"]


class DataSourceOptions(OptionGroup):
    title: ClassVar[str] = "Dataset"

    train_data_dir: Path | None = option(
        help="Folder whose sub-folders are named REPEATS_CLASS, such as '10_sks dog'. Not with --dataset_config."
    )
    reg_data_dir: Path | None = option(help="The same for regularisation images.")
    dataset_config: Path | None = option(
        help="TOML or JSON file that describes datasets and subsets; what it sets beats the command line."
    )
    train_batch_size: int = option(1, ge=1, unit="images", help="Images per batch and device.")
    dataset_repeats: int = option(
        1, ge=0, unit="repeats", help="Repeats of subsets that name none themselves; folders named REPEATS_CLASS do."
    )
    in_json: Path | None = option(
        help="Metadata file (JSON or JSONL) that lists images and captions; --train_data_dir then says where the "
        "images are, by default in the file's folder."
    )
    recursive: bool = option(False, help="Search the folders inside each folder of images as well.")
    unreadable_images: UnreadableImages = option(
        "skip",
        help="Images that cannot be read: 'skip' leaves them out and names them, whenever that shows; 'stop' leaves "
        "out those that show before training, and ends the run at a later one; 'error' does not start with any.",
    )
    cache_info: bool = option(
        False, help="Keep the sizes of the images in a file in the cache folder (see --cache_dir) for a quicker start."
    )
    dataset_class: str | None = option(
        help="Import path of a dataset class of your own, such as my_dataset.MyDataset, which takes the place of all "
        "folders: see docs/own_dataset_class.md."
    )
    debug_dataset: bool = option(
        False,
        help="Show what would be trained, then stop: the plan, and pages with the pictures and captions of the first "
        "batches in OUTPUT_DIR/dataset_preview. Nothing else is written, and no model is loaded.",
    )


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
    enforce_bucket_limits: bool = option(
        False,
        help="Keep --min_bucket_reso and --max_bucket_reso with --bucket_no_upscale, too: longer images are cropped, "
        "images that are too small for the minimum are left out.",
    )


class AugmentationOptions(OptionGroup):
    """How a picture is resized and changed, one set for each subset."""

    title: ClassVar[str] = "Augmentation"

    flip_aug: bool = option(False, help="Mirror each image with probability one half each time it is used.")
    color_aug: bool = option(
        False, help="Change the hue or the gamma of every third image a little at random. Not with cached latents."
    )
    random_crop: bool = option(
        False, help="Crop at a random place instead of the centre, each time anew. Not with cached latents."
    )
    face_crop_aug_range: ZoomRange | None = option(
        help="'min,max': crop around the face whose place the file name tells (NAME_CENTREX_CENTREY_WIDTH_HEIGHT), at "
        "random so closely that the picture's shorter side is min to max faces long. Not with cached latents."
    )
    alpha_mask: bool = option(
        False, help="Use the images' alpha channel as loss mask: what is transparent is not learned."
    )
    resize_interpolation: Interpolation | None = option(
        help="Resampling filter; default: area for shrinking, lanczos for enlarging."
    )


class CacheOptions(OptionGroup):
    title: ClassVar[str] = "Caches"

    cache_latents: bool = option(False, help="Encode all images once, before training, and keep the latents in memory.")
    vae_batch_size: int = option(1, ge=1, unit="images", help="Images encoded by the VAE at a time.")
    cache_latents_to_disk: bool = option(
        False, help="The same, kept on disk in 16 bits for the next run: see --cache_dir."
    )
    resample_latents: bool = option(
        False,
        help="Keep mean and deviation of the latents, and draw from them each time an image is used, as without a "
        "cache; it takes twice the room.",
    )
    skip_cache_check: bool = option(
        False,
        help="Trust the caches on disk: neither images that are known nor cache files are looked at for changes.",
    )
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
    def caches_latents(self) -> bool:
        return self.cache_latents or self.cache_latents_to_disk

    @property
    def is_on_disk(self) -> bool:
        return self.cache_latents_to_disk or self.cache_text_encoder_outputs_to_disk

    @property
    def caches_text(self) -> bool:
        return self.cache_text_encoder_outputs or self.cache_text_encoder_outputs_to_disk


class LoaderOptions(OptionGroup):
    title: ClassVar[str] = "Data loading"

    max_data_loader_n_workers: int = option(
        8, ge=0, unit="processes", help="Most worker processes that prepare batches; never more than there are cores."
    )
    persistent_data_loader_workers: bool = option(
        False, help="Taken for compatibility: worker processes always live as long as the run."
    )
