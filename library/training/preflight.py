"""Everything that can be wrong, found before anything heavy is imported or loaded."""

import importlib.util
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from library.dataset.findings import Findings
from library.dataset.folder_convention import find_folders
from library.dataset.records import Dataset
from library.dataset.scan import scan_dataset
from library.errors import UserError
from library.metadata.training_metadata import network_arguments
from library.models.family import ModelFamily
from library.optimizers.optimizer_choice import find_optimizer
from library.options.dataset_settings import DatasetSettings, dataset_from_folders, datasets_from_file
from library.options.groups.monitoring import SAMPLERS_PENDING
from library.options.resolution import ResolvedOptions
from library.options.schema import all_options
from library.sampling.prompt_files import Prompt, fields_without_effect, read_prompt_file
from library.training.caption_weights import caption_weight_notices
from library.training.file_names import final_file
from library.training.model_checks import BaseModel, check_model
from networks.arguments import check_arguments
from networks.module_lookup import require_module

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunPlan:
    """A run that nothing is known to be wrong with."""

    resolved: ResolvedOptions
    base: BaseModel
    datasets: tuple[Dataset, ...]
    prompts: tuple[Prompt, ...]
    """for previews, as written"""
    output_dir: Path

    @property
    def family(self) -> ModelFamily:
        return self.base.family


def check_run(resolved: ResolvedOptions, families: Sequence[ModelFamily]) -> RunPlan:
    """
    Args:
        families: what the script trains.

    Raises:
        UserError: with every problem that was found.
    """
    findings = Findings(list(resolved.problems), list(resolved.warnings))
    base = check_model(resolved, families, findings)
    family = base.family if base is not None else families[0]
    # listing images may take long: not for a model that cannot be used
    datasets = _check_datasets(resolved, family, findings, lists_images=base is not None)
    prompts = _check_prompts(resolved, findings)
    _check_network(resolved, findings)
    _check_packages(resolved, findings)
    _check_files(resolved, findings)
    _check_final_file(resolved, findings)
    _check_rates(resolved, family, findings)
    output_dir = resolved.settings.saving.output_dir
    if output_dir is not None:
        _check_writable(output_dir, "output_dir", findings)
    _check_text_cache(resolved, datasets, findings)
    findings.warnings += caption_weight_notices(datasets, resolved.settings.text.weighted_captions)
    for warning in findings.warnings:
        logger.warning(warning)
    if findings.problems or base is None or output_dir is None:
        raise UserError(findings.problems)
    return RunPlan(resolved, base, datasets, prompts, output_dir)


def _check_datasets(
    resolved: ResolvedOptions, family: ModelFamily, findings: Findings, lists_images: bool
) -> tuple[Dataset, ...]:
    settings = _dataset_settings(resolved, findings)
    datasets = []
    for index, dataset_settings in enumerate(settings):
        if dataset_settings.resolution is None:
            continue  # reported already
        _check_sizes(dataset_settings, family, findings)
        if lists_images:
            datasets.append(scan_dataset(index, dataset_settings, findings))
    if datasets and not findings.problems and not any(dataset.num_train_images for dataset in datasets):
        findings.problems.append(
            "there are no training images: all images are for regularisation, or have 0 repeats (num_repeats)"
        )
    return tuple(datasets)


def _dataset_settings(resolved: ResolvedOptions, findings: Findings) -> tuple[DatasetSettings, ...]:
    data = resolved.settings.data
    if data.dataset_config is not None:
        from_file = datasets_from_file(data.dataset_config, resolved)
        findings.problems += from_file.problems
        return from_file.datasets
    if data.train_data_dir is None:
        return ()
    subsets = _folders(data.train_data_dir, "train_data_dir", findings)
    if data.reg_data_dir is not None:
        subsets += _folders(data.reg_data_dir, "reg_data_dir", findings)
    return (dataset_from_folders(subsets, resolved),) if subsets else ()


def _folders(parent: Path, option: str, findings: Findings) -> list[dict[str, object]]:
    try:
        found = find_folders(parent, is_reg=option == "reg_data_dir")
    except OSError as error:
        findings.problems.append(f"--{option} '{parent}': {error.strerror or error}")
        return []
    if found.ignored:
        names = ", ".join(f"'{folder.name}'" for folder in found.ignored)
        findings.warnings.append(
            f"--{option}: {names} are not used, since their names do not begin with repeats, as in '10_sks dog'"
        )
    if not found.subsets:
        findings.problems.append(
            f"--{option} '{parent}' holds no folder named REPEATS_CLASS, such as '10_sks dog': "
            "put the images into one, and name the folder above it"
        )
    return found.subsets


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


def _check_prompts(resolved: ResolvedOptions, findings: Findings) -> tuple[Prompt, ...]:
    path = resolved.settings.sampling.sample_prompts
    if path is None:
        return ()
    try:
        prompts = read_prompt_file(path)
    except UserError as error:
        findings.problems += error.problems
        return ()
    if not prompts:
        findings.problems.append(f"--sample_prompts '{path}' holds no prompt")
    samplers = all_options()["sample_sampler"].choices
    usable = [name for name in samplers if name not in SAMPLERS_PENDING]
    for prompt in prompts:
        name = prompt.get("sample_sampler")
        if name is not None and name not in usable:
            what = "not available in this version yet" if name in samplers else "unknown"
            findings.problems.append(
                f"--sample_prompts '{path}', prompt {prompt['enum'] + 1}: the sampler '{name}' is {what}; "
                f"use one of: {', '.join(usable)}"
            )
    for letter in fields_without_effect(prompts):
        findings.warnings.append(f"--sample_prompts '{path}': --{letter} is meant for other models and has no effect")
    return tuple(prompts)


def _check_network(resolved: ResolvedOptions, findings: Findings) -> None:
    options = resolved.settings.network
    if options.network_module is None:
        return
    try:
        require_module(options.network_module)
        check_arguments(options.network_module, network_arguments(options))
    except UserError as error:
        findings.problems += error.problems


def _check_packages(resolved: ResolvedOptions, findings: Findings) -> None:
    try:
        find_optimizer(resolved.settings.optimizer)
    except UserError as error:
        findings.problems += error.problems
    needed = {
        "xformers": ("xformers", resolved.settings.attention.xformers),
        "logging_dir": ("tensorboard", resolved.settings.logging.logging_dir is not None),
    }
    for option, (package, wanted) in needed.items():
        if wanted and importlib.util.find_spec(package) is None:
            findings.problems.append(
                f"--{option} needs the package {package}, which is not installed: pip install {package}"
            )


def _check_rates(resolved: ResolvedOptions, family: ModelFamily, findings: Findings) -> None:
    rates = resolved.settings.optimizer.text_encoder_lr or ()
    if len(rates) > family.num_text_encoders:
        findings.problems.append(
            f"--text_encoder_lr: {len(rates)} rates were given, "
            f"but {family.name} has {family.num_text_encoders} text encoder{'s' * (family.num_text_encoders > 1)}"
        )


def _check_files(resolved: ResolvedOptions, findings: Findings) -> None:
    thumbnail = resolved.settings.metadata.metadata_thumbnail
    if thumbnail and not thumbnail.startswith(("data:", "http://", "https://")) and not Path(thumbnail).is_file():
        findings.problems.append(f"--metadata_thumbnail '{thumbnail}': there is no such file")
    logging_dir = resolved.settings.logging.logging_dir
    if logging_dir is not None:
        _check_writable(logging_dir, "logging_dir", findings)


def _check_text_cache(resolved: ResolvedOptions, datasets: Sequence[Dataset], findings: Findings) -> None:
    if resolved.settings.cache.cache_text_encoder_outputs_to_disk and datasets:
        _check_writable(cache_folder(resolved, datasets), "cache_dir", findings)


def cache_folder(resolved: ResolvedOptions, datasets: Sequence[Dataset]) -> Path:
    """Where caches on disk are."""
    given = resolved.settings.cache.cache_dir
    return given if given is not None else datasets[0].settings.subsets[0].image_dir / ".cache"


def _check_final_file(resolved: ResolvedOptions, findings: Findings) -> None:
    saving = resolved.settings.saving
    if saving.output_dir is None:
        return
    path = saving.output_dir / final_file(saving.output_name, f".{saving.save_model_as}")
    if path.is_dir():
        findings.problems.append(f"--output_name: '{path}' is a folder; choose another name")
    elif path.exists():
        findings.warnings.append(f"'{path}' exists and will be replaced when training ends")


def _check_writable(folder: Path, option: str, findings: Findings) -> None:
    """Whether files can be written there, without leaving anything behind."""
    existing = next((path for path in (folder, *folder.absolute().parents) if path.exists()), None)
    try:
        if existing is None or not existing.is_dir():
            raise NotADirectoryError(0, f"'{existing}' is a file, not a folder")
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        findings.problems.append(f"--{option} '{folder}' cannot be written: {error.strerror}")
