"""The ss_* fields: how a network was trained, in the vocabulary of kohya's sd-scripts."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from library.dataset.buckets.placement_rule import effective_bucket_limits
from library.dataset.records import Dataset
from library.metadata import dataset_metadata
from library.metadata.model_hashes import ModelHashes
from library.metadata.modelspec import modelspec_fields
from library.models.family import ModelFamily
from library.optimizers.scheduled_rates import schedule_beside
from library.options.groups import NetworkOptions, OptimizerOptions, ScheduleOptions
from library.options.resolution import ResolvedOptions
from library.version import source_identity
from networks.arguments import MODULES
from networks.module_lookup import resolve_alias

MINIMUM_FIELDS = (
    "ss_v2", "ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha", "ss_network_args",
)  # fmt: skip
"""What other tools need; all that --no_metadata leaves."""

_OPTION_FIELDS = (
    "output_name", "learning_rate", "unet_lr", "gradient_checkpointing", "gradient_accumulation_steps",
    "network_module", "network_dim", "network_alpha", "network_dropout", "mixed_precision", "full_fp16", "clip_skip",
    "max_token_length", "lowram", "noise_offset",
    "noise_offset_random_strength", "multires_noise_iterations", "multires_noise_discount", "adaptive_noise_scale",
    "zero_terminal_snr", "ip_noise_gamma", "ip_noise_gamma_random_strength", "training_comment", "max_grad_norm",
    "caption_dropout_rate", "caption_dropout_every_n_epochs", "caption_tag_dropout_rate", "face_crop_aug_range",
    "prior_loss_weight", "min_snr_gamma", "scale_weight_norms", "loss_type", "huber_schedule", "huber_scale",
    "huber_c", "fp8_base", "fp8_base_unet", "validation_seed", "validation_split", "max_validation_steps",
    "validate_every_n_epochs", "validate_every_n_steps", "resize_interpolation",
)  # fmt: skip
"""Options whose field is named after them."""

_FIELDS_WHERE_CHANGED = frozenset({
    "full_bf16", "logit_mean", "logit_std", "masked_loss", "normalize_masked_loss", "p2_gamma", "p2_k",
    "scale_v_pred_loss_like_noise_pred", "soft_min_snr", "stratified_timesteps", "timestep_sampling",
    "unmasked_weight", "v_pred_like_loss",
})  # fmt: skip
"""Options of which kohya's tool says nothing, and which are told where they do not have their default."""

_SINGLE_DATASET_OPTIONS = (
    "color_aug", "flip_aug", "random_crop", "shuffle_caption", "keep_tokens",
)  # fmt: skip

_NOT_IN_FILES = frozenset({
    "algo", "block_lr_zero_threshold", "block_size", "bypass_mode", "dora_wd", "down_lr_weight", "dropout",
    "loraplus_lr_ratio", "loraplus_text_encoder_lr_ratio", "loraplus_unet_lr_ratio", "mid_lr_weight", "module_dropout",
    "network_reg_lrs", "norm_gradient", "rank_dropout", "rank_dropout_scale", "unit", "up_lr_weight", "verbose",
    "wd_on_output",
})  # fmt: skip
"""Arguments of our networks that say how layers are trained, or what they become, not what they are."""


@dataclass(frozen=True)
class ModelOrigin:
    """Which base model or VAE it was."""

    name_or_path: str
    hashes: Future[ModelHashes] | None
    """None if it came from a hub."""

    def fields(self, kind: str) -> dict[str, str]:
        if self.hashes is None:
            return {f"ss_{kind}_name": self.name_or_path}
        hashes = self.hashes.result()
        return {
            f"ss_{kind}_name": Path(self.name_or_path).name,
            f"ss_{kind}_hash": hashes.short,
            f"ss_new_{kind}_hash": hashes.full,
        }


@dataclass(frozen=True)
class NetworkSize:
    """As other tools write it: a number, or "Dynamic" where layers differ."""

    rank: int | str
    alpha: float | str


@dataclass(frozen=True)
class RunFacts:
    """What is known once a run is set up."""

    session_id: int
    started_at: float
    """seconds since 1970"""
    seed: int
    max_train_steps: int
    num_epochs: int
    batches_per_epoch: int
    """of one process"""
    num_processes: int
    optimizer: str
    """Class and arguments, as in ss_optimizer"""
    model: ModelOrigin
    vae: ModelOrigin | None
    """if it is another than the model's own"""
    thumbnail: str | None = None
    """URL, or data URL, of --metadata_thumbnail"""
    network_size: NetworkSize | None = None
    """if --network_weights said it, and not the options"""


@dataclass(frozen=True)
class MetadataWriter:
    """Makes the metadata of each file a run saves."""

    resolved: ResolvedOptions
    family: ModelFamily
    datasets: tuple[Dataset, ...]
    facts: RunFacts

    def metadata(self, step: int, epoch: int) -> dict[str, str]:
        """All fields of a file saved after so many optimizer steps and epochs; every value is a text."""
        now = time.time()
        settings = self.resolved.settings
        fields = self._run_fields() | self._dataset_fields() | self._model_fields()
        fields |= {"ss_steps": step, "ss_epoch": epoch, "ss_training_finished_at": now}
        if settings.metadata.no_metadata:
            fields = {name: value for name, value in fields.items() if name in MINIMUM_FIELDS}
        texts = {name: str(value) for name, value in fields.items()}
        first = self.datasets[0].settings.resolution if self.datasets else None
        texts |= modelspec_fields(
            self.family, settings.metadata, settings.timesteps, settings.saving.output_name,
            settings.buckets.resolution or first, now, settings.model.clip_skip, self.facts.thumbnail,
        )  # fmt: skip
        return {name: _as_unicode(text) for name, text in texts.items()}

    def _run_fields(self) -> dict[str, Any]:
        options = self.resolved.values()
        fields: dict[str, Any] = {f"ss_{name}": options[name] for name in _OPTION_FIELDS}
        changed = self.resolved.changed()
        fields |= {f"ss_{name}": changed[name] for name in sorted(_FIELDS_WHERE_CHANGED & changed.keys())}
        fields |= _schedule_fields(self.resolved.settings.optimizer, self.resolved.settings.schedule)
        fields |= {
            "ss_cache_latents": self.resolved.settings.cache.caches_latents,  # on disk, too
            "ss_session_id": self.facts.session_id,
            "ss_training_started_at": self.facts.started_at,
            "ss_seed": self.facts.seed,
            "ss_max_train_steps": self.facts.max_train_steps,
            "ss_num_epochs": self.facts.num_epochs,
            "ss_num_batches_per_epoch": self.facts.batches_per_epoch,
            "ss_optimizer": self.facts.optimizer,
            "ss_text_encoder_lr": _single(options["text_encoder_lr"]),
            "ss_debiased_estimation": options["debiased_estimation_loss"],
            "ss_sd_scripts_commit_hash": source_identity(),
            "ss_v2": self.family.is_v2,
            "ss_base_model_version": self.family.base_model_version,
        }
        if options["network_args"]:
            fields["ss_network_args"] = json.dumps(_effective_arguments(self.resolved.settings.network))
        if self.facts.network_size is not None:
            fields["ss_network_dim"] = self.facts.network_size.rank
            fields["ss_network_alpha"] = self.facts.network_size.alpha
        return fields | _network_files(self.resolved.settings.network)

    def _model_fields(self) -> dict[str, Any]:
        fields = self.facts.model.fields("sd_model")
        return fields if self.facts.vae is None else fields | self.facts.vae.fields("vae")

    def _dataset_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "ss_num_train_images": dataset_metadata.num_train_images(self.datasets),
            "ss_num_validation_images": 0,
            "ss_num_reg_images": dataset_metadata.num_reg_images(self.datasets),
            "ss_tag_frequency": json.dumps(dataset_metadata.tag_frequency(self.datasets)),
        }
        if self.resolved.settings.data.dataset_config is not None:
            descriptions = [dataset_metadata.describe_dataset(dataset) for dataset in self.datasets]
            fields["ss_datasets"] = json.dumps(descriptions)
            fields["ss_dataset_dirs"] = json.dumps(dataset_metadata.subset_folders(self.datasets, is_reg=False))
            return fields
        return fields | self._single_dataset_fields(self.datasets[0])

    def _single_dataset_fields(self, dataset: Dataset) -> dict[str, Any]:
        options, settings = self.resolved.values(), dataset.settings
        limits = effective_bucket_limits(settings) if settings.enable_bucket else (None, None)
        fields = {f"ss_{name}": options[name] for name in _SINGLE_DATASET_OPTIONS}
        return fields | {
            "ss_batch_size_per_device": settings.batch_size,
            "ss_total_batch_size": settings.batch_size
            * self.facts.num_processes
            * options["gradient_accumulation_steps"],
            "ss_resolution": settings.resolution,
            "ss_enable_bucket": settings.enable_bucket,
            "ss_bucket_no_upscale": settings.enable_bucket and settings.bucket_no_upscale,
            "ss_min_bucket_reso": limits[0],
            "ss_max_bucket_reso": limits[1],
            "ss_dataset_dirs": json.dumps(dataset_metadata.subset_folders([dataset], is_reg=False)),
            "ss_reg_dataset_dirs": json.dumps(dataset_metadata.subset_folders([dataset], is_reg=True)),
            "ss_bucket_info": json.dumps(dataset_metadata.bucket_info(dataset)),
        }


def network_arguments(options: NetworkOptions) -> dict[str, Any]:
    """--network_args as a dictionary, with the dropout that the network module is given as well."""
    arguments: dict[str, Any] = dict(pair.split("=", 1) for pair in options.network_args or ())
    arguments.setdefault("dropout", options.network_dropout)
    return arguments


def is_told_by_file(options: NetworkOptions, argument: str) -> bool:
    """Whether an argument of --network_args has no effect since --dim_from_weights takes the layers as a file has them;
    which ones that are is known of our own networks."""
    takes_file = bool(options.network_weights) and options.dim_from_weights
    return takes_file and resolve_alias(options.network_module or "") in MODULES and argument not in _NOT_IN_FILES


def _schedule_fields(optimizer: OptimizerOptions, given: ScheduleOptions) -> dict[str, Any]:
    """The schedule that was in effect beside the optimizer's own."""
    schedule = schedule_beside(optimizer, given)
    name = schedule.lr_scheduler_type or schedule.lr_scheduler
    if schedule.name == "adafactor":
        name = f"adafactor:{optimizer.learning_rate}"  # as kohya's tool writes it
    fields: dict[str, Any] = {"ss_lr_scheduler": name, "ss_lr_warmup_steps": schedule.lr_warmup_steps}
    if schedule.lr_scheduler_args:
        fields["ss_lr_scheduler_args"] = json.dumps(list(schedule.lr_scheduler_args))
    return fields


def _effective_arguments(options: NetworkOptions) -> dict[str, Any]:
    return {name: value for name, value in network_arguments(options).items() if not is_told_by_file(options, name)}


def _network_files(options: NetworkOptions) -> dict[str, str]:
    """What the network was trained on top of, and what it continues: fields of our own, where there is something to
    say. Whoever uses the network needs the base weights, too."""
    fields = {}
    if options.base_weights:
        pairs = zip_longest(options.base_weights, options.base_weights_multiplier or (), fillvalue=1.0)
        fields["ss_base_weights"] = json.dumps({Path(str(file)).name: multiplier for file, multiplier in pairs})
    if options.network_weights:
        fields["ss_network_weights"] = Path(options.network_weights).name
    return fields


def _as_unicode(text: str) -> str:
    """Names of files and words of a command line may hold bytes that are no text, which no file format takes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _single(values: Sequence[float] | None) -> Any:
    return values[0] if values is not None and len(values) == 1 else values
