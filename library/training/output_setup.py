"""Builds what a run leaves behind: network files, previews, losses of single images."""

import secrets
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator

from library.metadata.model_hashes import hash_model_in_background
from library.metadata.modelspec import as_data_url
from library.metadata.training_metadata import MetadataWriter, ModelOrigin, RunFacts
from library.models.adapter import ModelAdapter
from library.optimizers.optimizer_choice import OptimizerChoice
from library.options.schema import Settings
from library.sampling.previews import preview_prompts
from library.training.file_names import snapshot_folder
from library.training.image_losses import ImageLossRecord, image_losses_file
from library.training.model_checks import LocalModel
from library.training.model_setup import CPU
from library.training.network_setup import TrainableNetwork
from library.training.network_start import size_of
from library.training.preview_schedule import PreviewSchedule
from library.training.run_start import SEED_LIMIT, Run
from library.training.save_schedule import SNAPSHOT_PRECISION, SaveSchedule
from library.training.saved_network import report_verification
from library.training.saving import PRECISIONS, NetworkSaver
from library.training.snapshot_saving import SnapshotSaver
from library.training.weight_versions import WeightAverages, WeightVersion


def build_saver(
    run: Run,
    model: ModelAdapter,
    trainable: TrainableNetwork,
    choice: OptimizerChoice,
    trained: WeightVersion,
    averages: WeightAverages,
) -> NetworkSaver:
    plan = run.plan
    thumbnail = run.settings.metadata.metadata_thumbnail
    facts = RunFacts(
        session_id=secrets.randbelow(SEED_LIMIT),
        started_at=run.started_at,
        seed=run.seed,
        max_train_steps=run.counts.max_train_steps,
        num_epochs=run.counts.num_epochs,
        batches_per_epoch=run.counts.batches_per_process,
        num_processes=run.accelerator.num_processes,
        optimizer=choice.describe(),
        model=_origin(plan.base.model, run.accelerator),
        vae=None if plan.base.vae is None else _origin(plan.base.vae, run.accelerator),
        thumbnail=as_data_url(thumbnail) if thumbnail else None,
        network_size=size_of(trainable.network) if run.settings.network.network_weights else None,
    )
    metadata = MetadataWriter(plan.resolved, plan.family, plan.datasets, facts)
    schedule = SaveSchedule(run.settings.saving, run.counts.num_epochs)
    check = partial(report_verification, network=trainable.network, views=model.views(), accelerator=run.accelerator)
    return NetworkSaver(
        trainable.network, schedule, plan.output_dir, metadata, check,
        versions=_saved_versions(run.settings, trained, averages),
        snapshots=_build_snapshots(run, trainable.network, averages),
    )  # fmt: skip


def _saved_versions(settings: Settings, trained: WeightVersion, averages: WeightAverages) -> list[WeightVersion]:
    if averages.ema is None:
        return [trained]
    return [trained, replace(averages.ema, metadata=dict) if settings.metadata.no_metadata else averages.ema]


def _build_snapshots(run: Run, network: torch.nn.Module, averages: WeightAverages) -> SnapshotSaver | None:
    every, saving = run.settings.averaging.ema_snapshots_every_n_steps, run.settings.saving
    if every is None:
        return None
    folder = run.plan.output_dir / snapshot_folder(saving.output_name)
    return SnapshotSaver(
        network, averages.snapshots, every, folder, PRECISIONS[saving.save_precision or SNAPSHOT_PRECISION]
    )


def _origin(model: LocalModel, accelerator: Accelerator) -> ModelOrigin:
    # only the main process saves: the others need not read gigabytes
    is_hashed = accelerator.is_main_process and not model.is_from_hub
    return ModelOrigin(model.name, hash_model_in_background(Path(model.name)) if is_hashed else None)


def build_previews(
    run: Run,
    model: ModelAdapter,
    trainable: TrainableNetwork,
    latents_are_cached: bool,
    text_is_cached: bool,
    version: WeightVersion,
) -> PreviewSchedule:
    options, device = run.settings.sampling, run.accelerator.device
    keeps_all = run.settings.memory.highvram
    return PreviewSchedule(
        accelerator=run.accelerator,
        model=model,
        network=trainable.network,
        options=options,
        prompts=preview_prompts(
            run.plan.prompts,
            options.sample_sampler,
            run.plan.family.default_resolution,
            run.seed,
            run.settings.noise.zero_terminal_snr,
        ),
        output_dir=run.plan.output_dir,
        output_name=run.settings.saving.output_name,
        vae_home=CPU if latents_are_cached and not keeps_all else device,
        text_encoders_home=CPU if text_is_cached and not keeps_all else device,
        version=version,
    )


def build_image_losses(run: Run) -> ImageLossRecord | None:
    if not run.settings.logging.log_image_losses:
        return None
    path = run.plan.output_dir / image_losses_file(run.settings.saving.output_name)
    return ImageLossRecord(path, run.accelerator)
