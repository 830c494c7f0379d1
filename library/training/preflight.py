"""Everything that can be wrong, found before anything heavy is imported or loaded."""

import importlib.util
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from library.dataset.findings import Findings
from library.dataset.images.pictures import PictureReader
from library.dataset.records import Dataset
from library.errors import UserError
from library.metadata.training_metadata import network_arguments
from library.models.family import ModelFamily, family_of_options
from library.optimizers.known_optimizers import find_optimizer
from library.options.groups.monitoring import SAMPLERS_PENDING
from library.options.resolution import ResolvedOptions
from library.options.schema import all_options
from library.sampling.prompt_files import Prompt, fields_without_effect, read_prompt_file
from library.training.caption_weights import caption_weight_notices
from library.training.dataset_checks import check_datasets
from library.training.file_names import EMA_SUFFIX, final_file, of_version, snapshot_folder
from library.training.known_images import cache_folder_of
from library.training.model_checks import BaseModel, check_model
from library.training.network_files import check_network_files
from library.wording import counted
from networks.arguments import check_arguments, notices
from networks.lycoris_notices import lycoris_notices
from networks.module_lookup import require_module, resolve_alias

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunPlan:
    """A run that nothing is known to be wrong with."""

    resolved: ResolvedOptions
    base: BaseModel
    datasets: tuple[Dataset, ...]
    pictures: PictureReader
    """reads their images"""
    prompts: tuple[Prompt, ...]
    """for previews, as written"""
    output_dir: Path

    @property
    def family(self) -> ModelFamily:
        return self.base.family


@dataclass(frozen=True)
class Examination:
    """What is known of a run before anything heavy is loaded, whether or not it can be started."""

    resolved: ResolvedOptions
    family: ModelFamily
    """The model's, or what the options say if the model cannot be used."""
    base: BaseModel | None
    datasets: tuple[Dataset, ...]
    pictures: PictureReader
    """reads their images"""
    prompts: tuple[Prompt, ...]
    findings: Findings


def check_run(resolved: ResolvedOptions, families: Sequence[ModelFamily]) -> RunPlan:
    """
    Args:
        families: what the script trains.

    Raises:
        UserError: with every problem that was found.
    """
    found = examine_run(resolved, families)
    for warning in found.findings.warnings:
        logger.warning(warning)
    output_dir = resolved.settings.saving.output_dir
    if found.findings.problems or found.base is None or output_dir is None:
        raise UserError(found.findings.problems)
    return RunPlan(resolved, found.base, found.datasets, found.pictures, found.prompts, output_dir)


def examine_run(
    resolved: ResolvedOptions, families: Sequence[ModelFamily], always_lists_images: bool = False
) -> Examination:
    """
    Args:
        families: what the script trains.
        always_lists_images: also when the model cannot be used, although that may take long.
    """
    findings = Findings(list(resolved.problems), list(resolved.warnings))
    base = check_model(resolved, families, findings)
    family = _family(resolved, families) if base is None else base.family
    data = check_datasets(resolved, family, findings, lists_images=base is not None or always_lists_images)
    datasets = data.datasets
    prompts = _check_prompts(resolved, findings)
    _check_network(resolved, family, findings)
    check_network_files(resolved.settings.network, None if base is None else base.family, findings)
    _check_packages(resolved, findings)
    _check_files(resolved, findings)
    _check_saved_files(resolved, findings)
    _check_rates(resolved, family, findings)
    output_dir = resolved.settings.saving.output_dir
    if output_dir is not None:
        _check_writable(output_dir, "output_dir", findings)
    _check_cache_folder(resolved, datasets, findings)
    findings.warnings += caption_weight_notices(datasets, resolved.settings.text.weighted_captions)
    return Examination(resolved, family, base, datasets, data.pictures, prompts, findings)


def _family(resolved: ResolvedOptions, families: Sequence[ModelFamily]) -> ModelFamily:
    model = resolved.settings.model
    return family_of_options(families, model.v2, model.v_parameterization) or families[0]


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


def _check_network(resolved: ResolvedOptions, family: ModelFamily, findings: Findings) -> None:
    options = resolved.settings.network
    if options.network_module is None:
        return
    try:
        require_module(options.network_module)
        module, arguments = resolve_alias(options.network_module), network_arguments(options)
        check_arguments(module, arguments, options.network_dim, family.num_unet_blocks)
        findings.warnings += notices(module, arguments, family.num_unet_blocks, resolved.given)
        findings.warnings += lycoris_notices(module, arguments)
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
            f"but {family.name} has {counted(family.num_text_encoders, 'text encoder')}"
        )


def _check_files(resolved: ResolvedOptions, findings: Findings) -> None:
    thumbnail = resolved.settings.metadata.metadata_thumbnail
    if thumbnail and not thumbnail.startswith(("data:", "http://", "https://")) and not Path(thumbnail).is_file():
        findings.problems.append(f"--metadata_thumbnail '{thumbnail}': there is no such file")
    logging_dir = resolved.settings.logging.logging_dir
    if logging_dir is not None:
        _check_writable(logging_dir, "logging_dir", findings)


def _check_cache_folder(resolved: ResolvedOptions, datasets: Sequence[Dataset], findings: Findings) -> None:
    if not (resolved.settings.cache.is_on_disk and any(dataset.settings.subsets for dataset in datasets)):
        return
    folder, refused = cache_folder(resolved, datasets), Findings()
    _check_writable(folder, "cache_dir", refused)
    if resolved.settings.cache.cache_dir is None:
        refused.problems = [f"{problem}; choose a folder for caches with --cache_dir" for problem in refused.problems]
    if any(folder.glob("*/*/*.safetensors")):
        # it may hold all that is needed; if not, the run says so before it encodes anything
        findings.warnings += [f"{problem}; the run ends if anything is missing in it" for problem in refused.problems]
    else:
        findings.problems += refused.problems


def cache_folder(resolved: ResolvedOptions, datasets: Sequence[Dataset]) -> Path:
    """Where caches on disk are."""
    return cache_folder_of(resolved, [dataset.settings for dataset in datasets])


def _check_saved_files(resolved: ResolvedOptions, findings: Findings) -> None:
    saving = resolved.settings.saving
    if saving.output_dir is None:
        return
    final = final_file(saving.output_name, f".{saving.save_model_as}")
    averaging = resolved.settings.averaging
    for name in [final] if averaging.ema_decay is None else [final, of_version(final, EMA_SUFFIX)]:
        path = saving.output_dir / name
        if path.is_dir():
            findings.problems.append(f"--output_name: '{path}' is a folder; choose another name")
        elif path.exists():
            findings.warnings.append(f"'{path}' exists and will be replaced when training ends")
    if averaging.ema_snapshots_every_n_steps is not None:
        _check_snapshot_folder(saving.output_dir / snapshot_folder(saving.output_name), findings)


def _check_snapshot_folder(folder: Path, findings: Findings) -> None:
    if folder.exists() and not folder.is_dir():
        findings.problems.append(
            f"--ema_snapshots_every_n_steps: '{folder}', the folder for snapshots, is a file; move or remove it, or "
            "choose another --output_name"
        )
    elif any(folder.glob("*")):
        findings.problems.append(
            f"--ema_snapshots_every_n_steps: '{folder}' holds files of an earlier run, which cannot be used together "
            "with those of this one; move or remove the folder, or choose another --output_name"
        )


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
