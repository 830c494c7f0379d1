"""Rules about options that depend on each other.

A rule is a function that yields what it finds. `given` holds the names of the options that were written
down anywhere: defaults never contradict anything.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from library.options.averaging_combinations import AVERAGING_RULES
from library.options.findings import Finding, Given, Notice, Problem
from library.options.loss_combinations import LOSS_RULES
from library.options.model_combinations import MODEL_RULES
from library.options.network_combinations import NETWORK_RULES
from library.options.noise_combinations import NOISE_RULES
from library.options.optimizer_combinations import OPTIMIZER_RULES
from library.options.schedule_combinations import SCHEDULE_RULES
from library.options.schema import Settings
from library.options.source_combinations import SOURCE_RULES


@dataclass(frozen=True)
class Findings:
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def check_combinations(settings: Settings, given: Given) -> Findings:
    findings = [finding for rule in RULES for finding in rule(settings, given)]
    return Findings(
        problems=tuple(finding.text for finding in findings if isinstance(finding, Problem)),
        warnings=tuple(finding.text for finding in findings if isinstance(finding, Notice)),
    )


def _required(settings: Settings, given: Given) -> Iterator[Finding]:
    if settings.config.output_config:
        return  # the configuration that is written may be completed later
    if "pretrained_model_name_or_path" not in given:
        yield Problem("--pretrained_model_name_or_path is missing: name the base model (file, folder or hub id)")
    if "output_dir" not in given:
        yield Problem("--output_dir is missing: name the folder for the trained network")
    if "network_module" not in given:
        yield Problem("--network_module is missing: name what to train, usually --network_module networks.lora")
    if not given & {"train_data_dir", "dataset_config", "in_json", "dataset_class"}:
        yield Problem("--train_data_dir or --dataset_config is missing: name the training images")
    if "resolution" not in given and ("dataset_config" not in given or "dataset_class" in given):
        yield Problem(
            "--resolution is missing: give the training size in pixels, "
            "usually --resolution 512 for SD 1.x and 1024 for SDXL"
        )


def _dataset(settings: Settings, given: Given) -> Iterator[Finding]:
    if "dataset_class" in given:
        yield from _dataset_class(settings, given)
    elif "dataset_config" in given:
        for name in sorted(given & {"train_data_dir", "reg_data_dir", "in_json"}):
            yield Notice(f"--{name} has no effect, since --dataset_config describes the datasets")
    if "reg_data_dir" in given and not given & {"train_data_dir", "dataset_config", "dataset_class", "in_json"}:
        yield Problem("--reg_data_dir adds to training images; it needs --train_data_dir")
    if not settings.buckets.enable_bucket and "dataset_config" not in given:
        for name in sorted(given & {"min_bucket_reso", "max_bucket_reso", "bucket_reso_steps"}):
            yield Notice(f"--{name} has no effect without --enable_bucket")
        if settings.buckets.bucket_no_upscale:
            yield Notice("--bucket_no_upscale has no effect without --enable_bucket")
    elif _enforces_kept_limits(settings) and "dataset_config" not in given:
        yield Notice("--enforce_bucket_limits has no effect without --bucket_no_upscale: the limits are kept anyway")
    if "dataset_repeats" in given and not given & {"dataset_config", "dataset_class", "in_json"}:
        yield Notice("--dataset_repeats has no effect with --train_data_dir: the folders' names say the repeats")
    if "prior_loss_weight" in given and not given & {"reg_data_dir", "dataset_config"}:
        yield Notice("--prior_loss_weight has no effect without regularisation images (--reg_data_dir)")


_OF_FOLDERS = (
    "train_data_dir", "reg_data_dir", "dataset_config", "in_json", "caption_extension", "recursive", "cache_info",
    "conditioning_data_dir",
)  # fmt: skip


def _dataset_class(settings: Settings, given: Given) -> Iterator[Finding]:
    for name in _OF_FOLDERS:
        if name in given:
            yield Notice(f"--{name} has no effect with --dataset_class, which takes the place of all folders")
    for name in ("cache_latents_to_disk", "cache_text_encoder_outputs_to_disk"):
        if getattr(settings.cache, name) and settings.cache.cache_dir is None:
            yield Problem(f"--{name} with --dataset_class needs --cache_dir: there is no image folder for the files")


def _enforces_kept_limits(settings: Settings) -> bool:
    return settings.buckets.enforce_bucket_limits and not settings.buckets.bucket_no_upscale


def _loading(settings: Settings, given: Given) -> Iterator[Finding]:
    cache = settings.cache
    if cache.caches_latents:
        option = "--cache_latents" if cache.cache_latents else "--cache_latents_to_disk"
        for name in sorted(given & {"max_data_loader_n_workers", "persistent_data_loader_workers"}):
            yield Notice(f"--{name} has no effect with {option}: no images are read while training")
    elif settings.loader.persistent_data_loader_workers and settings.loader.max_data_loader_n_workers == 0:
        yield Notice("--persistent_data_loader_workers has no effect with --max_data_loader_n_workers 0")
    elif "persistent_data_loader_workers" in given and not settings.loader.persistent_data_loader_workers:
        yield Notice("--no_persistent_data_loader_workers has no effect: worker processes live as long as the run")


def _latent_cache(settings: Settings, given: Given) -> Iterator[Finding]:
    cache = settings.cache
    if not cache.caches_latents:
        if "vae_batch_size" in given:
            yield Notice("--vae_batch_size has no effect without --cache_latents")
        if cache.resample_latents:
            yield Notice("--resample_latents has no effect without --cache_latents: latents are drawn anew anyway")
    if cache.skip_cache_check:
        if cache.is_on_disk:
            yield Notice(
                "--skip_cache_check: caches on disk are trusted without a look at the images; images that were changed "
                "since they were encoded are trained on as they were"
            )
        elif cache.cache_dir is None and not settings.data.cache_info and "dataset_config" not in given:
            yield Notice(
                "--skip_cache_check has no effect without --cache_latents_to_disk or "
                "--cache_text_encoder_outputs_to_disk"
            )


_WHAT_TAKES_TAGS_APART = "--shuffle_caption, --caption_tag_dropout_rate or --token_warmup_step"


def _captions(settings: Settings, given: Given) -> Iterator[Finding]:
    captions = settings.captions
    if "dataset_config" in given:
        return  # its subsets may have rules of their own
    if captions.keep_tokens > 0 and not captions.takes_tags_apart:
        yield Notice(f"--keep_tokens has no effect without {_WHAT_TAKES_TAGS_APART}")
    if captions.keep_tokens_separator and not captions.takes_tags_apart:
        yield Notice(
            f"--keep_tokens_separator '{captions.keep_tokens_separator}' has no effect without "
            f"{_WHAT_TAKES_TAGS_APART}: it stays in the captions as text"
        )
    for name in ("caption_dropout_rate", "caption_dropout_every_n_epochs"):
        if getattr(captions, name) == 1:
            yield Notice(f"--{name} 1 leaves out every caption: the images are trained without any text")
    if "token_warmup_min" in given and captions.token_warmup_step == 0:
        yield Notice("--token_warmup_min has no effect without --token_warmup_step")


def _length(settings: Settings, given: Given) -> Iterator[Finding]:
    if settings.training.max_train_epochs is not None and "max_train_steps" in given:
        yield Notice("--max_train_steps has no effect, since --max_train_epochs is given")
    if not given & {"max_train_steps", "max_train_epochs"}:
        yield Notice(
            "neither --max_train_steps nor --max_train_epochs was given: "
            f"training stops after {settings.training.max_train_steps} steps"
        )


def _saving(settings: Settings, given: Given) -> Iterator[Finding]:
    saving = settings.saving
    if saving.save_n_epoch_ratio and saving.save_every_n_epochs:
        yield Notice("--save_every_n_epochs has no effect, since --save_n_epoch_ratio is given")
    if saving.save_last_n_epochs and not (saving.save_every_n_epochs or saving.save_n_epoch_ratio):
        yield Notice("--save_last_n_epochs has no effect without --save_every_n_epochs")
    if saving.save_last_n_steps and not saving.save_every_n_steps:
        yield Notice("--save_last_n_steps has no effect without --save_every_n_steps")
    if saving.save_model_as != "safetensors":
        yield Notice(f"--save_model_as {saving.save_model_as}: such files hold no metadata; safetensors files do")
    if settings.metadata.no_metadata and "training_comment" in given:
        yield Notice("--training_comment has no effect with --no_metadata")
    if saving.output_name is not None and not _is_portable_name(saving.output_name):
        yield Problem(f"--output_name '{saving.output_name}': {_PORTABLE} (the folder is --output_dir)")


_MOST_BYTES = 200
"""Of a name in UTF-8: file systems take 255, and numbers, endings and the like are added to it."""
_PORTABLE = (
    'must be a file name that every system takes: not empty, without / \\ : * ? " < > |, '
    "no blank or dot at the end, no device name such as CON, "
    f"at most {_MOST_BYTES} bytes in UTF-8"
)
_DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def _is_portable_name(name: str) -> bool:
    """Whether Windows, too, can have such a file: networks are passed around."""
    forbidden = set('/\\:*?"<>|')
    return (
        0 < len(os.fsencode(name)) <= _MOST_BYTES
        and not any(letter in forbidden or ord(letter) < 32 for letter in name)
        and not name.endswith((" ", "."))
        and not _DEVICE_NAMES.fullmatch(name)
    )


def _previews(settings: Settings, given: Given) -> Iterator[Finding]:
    sampling = settings.sampling
    wanted = [
        name for name in ("sample_every_n_steps", "sample_every_n_epochs", "sample_at_first") if getattr(sampling, name)
    ]
    if wanted and sampling.sample_prompts is None:
        yield Problem(f"--{wanted[0]} needs --sample_prompts: a file with one prompt per line")
    if sampling.sample_prompts is not None and not wanted:
        yield Notice(
            "--sample_prompts has no effect without "
            "--sample_every_n_steps, --sample_every_n_epochs or --sample_at_first"
        )
    if sampling.sample_every_n_steps and sampling.sample_every_n_epochs:
        yield Notice("--sample_every_n_steps has no effect, since --sample_every_n_epochs is given")


def _logging(settings: Settings, given: Given) -> Iterator[Finding]:
    logging = settings.logging
    if logging.log_with is not None and logging.logging_dir is None:
        yield Problem("--log_with tensorboard needs --logging_dir: the folder for the logs")
    if logging.logging_dir is None:
        for name in sorted(given & {"log_prefix", "log_tracker_name", "log_config"}):
            yield Notice(f"--{name} has no effect without --logging_dir")
    # the time follows the prefix, so that it may end as it likes
    for name, folder in (("log_prefix", f"{logging.log_prefix}0"), ("log_tracker_name", logging.log_tracker_name)):
        if name in given and folder and not _is_portable_name(folder):
            yield Problem(f"--{name} '{getattr(logging, name)}': {_PORTABLE} (the folder is --logging_dir)")


def _config(settings: Settings, given: Given) -> Iterator[Finding]:
    if settings.config.output_config and "config_file" not in given:
        yield Problem("--output_config needs --config_file: the file to write")


RULES = (
    _required, _dataset, _loading, _latent_cache, _captions, _length, _saving, _previews, _logging, _config,
    *NOISE_RULES, *LOSS_RULES, *OPTIMIZER_RULES, *SCHEDULE_RULES, *AVERAGING_RULES, *NETWORK_RULES, *SOURCE_RULES,
    *MODEL_RULES,
)  # fmt: skip
