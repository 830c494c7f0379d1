"""What a run's options say about its data: the datasets, checked and scanned."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from library.dataset.augmentations.face_crops import face_crop_notices
from library.dataset.captions.missing_captions import check_missing_captions
from library.dataset.findings import Findings
from library.dataset.images.picture_files import FilePictures
from library.dataset.images.pictures import PictureReader
from library.dataset.records import Dataset
from library.dataset.scanning.folder_convention import find_folders, parse_folder_name
from library.dataset.scanning.image_scan import ImageReading
from library.dataset.scanning.mask_files import masks_of_folder
from library.dataset.scanning.placement_report import placement_warnings
from library.dataset.scanning.regularisation import balance_regularisation
from library.dataset.scanning.scan import scan_dataset
from library.dataset.scanning.validation_split import split_validation
from library.models.family import ModelFamily
from library.options.dataset_combinations import contradictions
from library.options.dataset_file import dataset_from_subsets, datasets_from_file
from library.options.dataset_settings import DatasetSettings
from library.options.groups import LossOptions
from library.options.resolution import ResolvedOptions
from library.training.dataset_class import scan_dataset_class
from library.training.known_images import open_image_index

DEFAULT_VALIDATION_SEED = 0
"""The choice has to be the same in every run, also where the run's own seed is drawn."""


@dataclass(frozen=True)
class CheckedData:
    datasets: tuple[Dataset, ...]
    pictures: PictureReader
    """reads their images"""


def check_datasets(
    resolved: ResolvedOptions, family: ModelFamily, findings: Findings, lists_images: bool
) -> CheckedData:
    settings = _dataset_settings(resolved, findings)
    findings.problems += contradictions(settings, resolved.settings.cache)
    dataset_class = resolved.settings.data.dataset_class
    if _has_no_masks(resolved, settings):
        findings.warnings += [
            f"--{name} has no effect: no subset has a conditioning_data_dir or alpha_mask to take masks from"
            for name in ("masked_loss", "unmasked_weight", "normalize_masked_loss")
            if getattr(resolved.settings.loss, name)
        ]
    reading = ImageReading(open_image_index(resolved, settings), resolved.settings.data.unreadable_images)
    pictures: PictureReader = FilePictures(reading.index)
    datasets = []
    for dataset_settings in settings:
        if dataset_settings.resolution is None:
            continue  # reported already
        _check_sizes(dataset_settings, family, findings)
        if lists_images and dataset_class is not None:
            scanned = scan_dataset_class(dataset_class, dataset_settings, resolved.settings, findings)
            if scanned is not None:
                datasets.append(scanned[0])
                pictures = scanned[1]
        elif lists_images:
            of_dataset = Findings()
            datasets.append(scan_dataset(len(datasets), dataset_settings, of_dataset, reading))
            findings.add(of_dataset)
    pictures.keep_facts()
    datasets = _settle(datasets, resolved, findings)
    if datasets and not findings.problems and not any(dataset.num_train_images for dataset in datasets):
        findings.problems.append(
            "there are no training images: all images are for regularisation, held out for validation "
            "(validation_split), cannot be read, or have 0 repeats (num_repeats)"
        )
    elif datasets and _changes_nothing(datasets):
        findings.problems.append(
            "custom_attributes: diff_output_preservation of every subset: the network would learn to change nothing; "
            "set it for the images only that are to stay as they are"
        )
    findings.warnings += face_crop_notices(datasets)
    check_missing_captions(datasets, findings)
    return CheckedData(tuple(datasets), pictures)


def _changes_nothing(datasets: Sequence[Dataset]) -> bool:
    preserved = [dataset.rules_of(record).preserves_output for dataset in datasets for record in dataset.records]
    return bool(preserved) and all(preserved)


def _settle(datasets: Sequence[Dataset], resolved: ResolvedOptions, findings: Findings) -> list[Dataset]:
    """What can only be said of all datasets together, and what follows from it."""
    seed = resolved.settings.training.seed
    split = split_validation(datasets, DEFAULT_VALIDATION_SEED if seed is None else seed, findings)
    for dataset in split:
        findings.warnings += placement_warnings(dataset)
    return [balance_regularisation(dataset, findings) for dataset in split]


def _dataset_settings(resolved: ResolvedOptions, findings: Findings) -> tuple[DatasetSettings, ...]:
    data = resolved.settings.data
    if data.dataset_class is not None:
        return (dataset_from_subsets([{"image_dir": Path(data.dataset_class)}], resolved),)
    if data.dataset_config is not None:
        from_file = datasets_from_file(data.dataset_config, resolved)
        findings.problems += from_file.problems
        findings.warnings += from_file.warnings
        return from_file.datasets
    if data.in_json is not None:
        listed: dict[str, object] = {"metadata_file": data.in_json}
        if data.train_data_dir is not None:
            listed["image_dir"] = data.train_data_dir
        return (dataset_from_subsets([listed], resolved),)
    if data.train_data_dir is None:
        return ()
    masks = resolved.settings.loss.conditioning_data_dir
    subsets = _folders(data.train_data_dir, "train_data_dir", findings, masks)
    _add_masks(subsets, resolved.settings.loss, findings)
    if data.reg_data_dir is not None:
        subsets += _folders(data.reg_data_dir, "reg_data_dir", findings)
    return (dataset_from_subsets(subsets, resolved),) if subsets else ()


def _add_masks(subsets: Sequence[dict[str, object]], options: LossOptions, findings: Findings) -> None:
    """Says where the masks of each folder are, if the run has any."""
    masks = options.conditioning_data_dir
    if masks is None or not options.masked_loss:
        return
    if not masks.is_dir():
        findings.problems.append(f"--conditioning_data_dir '{masks}' is not a folder")
        return
    for subset in subsets:
        subset["conditioning_data_dir"] = masks_of_folder(masks, Path(str(subset["image_dir"])))


def _folders(parent: Path, option: str, findings: Findings, masks: Path | None = None) -> list[dict[str, object]]:
    """
    Args:
        masks: a folder that may lie among them, and is used in another way.
    """
    try:
        found = find_folders(parent, is_reg=option == "reg_data_dir")
    except OSError as error:
        findings.problems.append(f"--{option} '{parent}': {error.strerror or error}")
        return []
    ignored = [folder for folder in found.ignored if masks is None or folder.resolve() != masks.resolve()]
    if ignored:
        names = ", ".join(f"'{folder.name}'" for folder in ignored)
        findings.warnings.append(
            f"--{option} '{parent}': not used, since the name does not begin with repeats, as in '10_sks dog': {names}"
        )
    if not found.subsets:
        findings.problems.append(
            f"--{option} '{parent}' holds no folder named REPEATS_CLASS, such as '10_sks dog': {_remedy(parent)}"
        )
    return found.subsets


def _remedy(parent: Path) -> str:
    if parse_folder_name(parent.name) is not None:
        return f"give the folder above it, '{parent.parent}'"
    return "put the images into one, and name the folder above it"


def _has_no_masks(resolved: ResolvedOptions, datasets: Sequence[DatasetSettings]) -> bool:
    """Whether it is known that no image has a mask."""
    subsets = [subset for dataset in datasets for subset in dataset.subsets]
    masked = any(subset.alpha_mask or subset.conditioning_data_dir is not None for subset in subsets)
    of_class = resolved.settings.data.dataset_class is not None  # which says itself what its masks are
    return bool(subsets) and not masked and not of_class


def _check_sizes(settings: DatasetSettings, family: ModelFamily, findings: Findings) -> None:
    step = settings.bucket_reso_steps
    if settings.enable_bucket and step % family.bucket_step:
        findings.problems.append(
            f"bucket_reso_steps {step}: {family.name} needs a multiple of {family.bucket_step} pixels"
        )
    cell = family.latents.pixels_per_cell
    resolution = settings.resolution
    if not settings.enable_bucket and resolution is not None and any(side % cell for side in resolution):
        nearest = ",".join(str(max(64, side // cell * cell)) for side in resolution)
        findings.problems.append(
            f"resolution {resolution[0]},{resolution[1]}: sides must be multiples of {cell} pixels; nearest: {nearest}"
        )
