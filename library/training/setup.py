"""Builds everything a run needs, in the order of its dependencies, and starts it."""

import logging
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list

from library.dataset.batch_plan import count_batches
from library.dataset.batch_preparation import BatchPreparer, LatentKey
from library.dataset.loading import BatchLoader, choose_loader
from library.errors import UserError
from library.metadata.model_hashes import hash_model_in_background
from library.metadata.modelspec import as_data_url
from library.metadata.training_metadata import MetadataWriter, RunFacts
from library.models.adapter import ModelAdapter
from library.models.model_source import SourceKind
from library.optimizers.optimizer_choice import OptimizerChoice, choose_optimizer
from library.optimizers.schedule import build_schedule
from library.optimizers.schedule_lengths import schedule_notices
from library.options.schema import Settings
from library.sampling.previews import preview_prompts
from library.training.model_setup import LoadModel, load_base_model, place_model
from library.training.network_setup import TrainableNetwork, build_network
from library.training.objective import build_objective
from library.training.optimization import OptimizerStep
from library.training.preflight import RunPlan
from library.training.preview_schedule import PreviewSchedule
from library.training.saving import NetworkSaver
from library.training.step_counts import StepCounts, count_steps
from library.training.summary import describe_run
from library.training.tracking import log_folder, start_tracking
from library.training.trainer import Trainer
from networks.contract import import_network_module

logger = logging.getLogger(__name__)

_SEED_LIMIT = 2**32


@dataclass(frozen=True)
class _Run:
    """What the parts of a run are built from."""

    plan: RunPlan
    accelerator: Accelerator
    seed: int
    counts: StepCounts
    started_at: float
    """seconds since 1970"""

    @property
    def settings(self) -> Settings:
        return self.plan.resolved.settings


def start_training(plan: RunPlan, load_model: LoadModel) -> Path | None:
    """Trains what the plan says. Returns the final file, on the main process.

    Raises:
        UserError: something only shows once libraries and model are loaded.
    """
    settings = plan.resolved.settings
    network_module = import_network_module(str(settings.network.network_module))
    optimizer_choice = choose_optimizer(settings.optimizer)
    run = _begin(plan)
    for notice in schedule_notices(settings.schedule, run.counts.max_train_steps):
        logger.warning(notice)
    for line in describe_run(plan, run.counts, run.accelerator.num_processes, run.seed):
        logger.info(line)

    model = load_base_model(plan, load_model)
    trainable = build_network(
        network_module, model, settings.network, settings.optimizer, plan.resolved.values(), run.seed,
        settings.training.gradient_checkpointing,
    )  # fmt: skip
    optimizer_step = _build_optimizer_step(run, model, trainable, optimizer_choice)
    # encoding pictures takes long: only now that nothing can be wrong with the options any more
    latents = place_model(plan, model, run.seed, run.accelerator.device, run.accelerator.is_main_process)
    plan.output_dir.mkdir(parents=True, exist_ok=True)
    start_tracking(run.accelerator, plan.resolved)
    trainer = Trainer(
        accelerator=run.accelerator,
        datasets=plan.datasets,
        loader=_build_loader(run, model, latents),
        optimizer_step=optimizer_step,
        before_epoch=trainable.before_epoch,
        descriptions=trainable.descriptions,
        counts=run.counts,
        saver=_build_saver(run, trainable, optimizer_choice),
        previews=_build_previews(run, model, trainable, vae_waits_on_cpu=latents is not None),
        seed=run.seed,
    )
    return trainer.train()


def _begin(plan: RunPlan) -> _Run:
    settings, started_at = plan.resolved.settings, time.time()
    precision = settings.precision.mixed_precision
    if precision == "fp16" and not torch.cuda.is_available():
        raise UserError("--mixed_precision fp16 needs a GPU; use bf16 or no")
    if settings.attention.xformers and not torch.cuda.is_available():
        raise UserError("--xformers needs a GPU; leave it out to use PyTorch's own attention")
    AcceleratorState._reset_state()  # of an earlier run in this process, which may have had another precision
    logs = log_folder(settings.logging, started_at)
    accelerator = Accelerator(mixed_precision=precision, log_with="tensorboard" if logs else None, project_dir=logs)
    counts = count_steps(
        count_batches(plan.datasets),
        accelerator.num_processes,
        settings.training.gradient_accumulation_steps,
        settings.training.max_train_steps,
        settings.training.max_train_epochs,
    )
    return _Run(plan, accelerator, _agree_on_seed(settings.training.seed), counts, started_at)


def _agree_on_seed(given: int | None) -> int:
    """The seed of the run, the same in every process."""
    choice = [secrets.randbelow(_SEED_LIMIT) if given is None else given]
    broadcast_object_list(choice)
    return int(choice[0])


def _build_optimizer_step(
    run: _Run, model: ModelAdapter, trainable: TrainableNetwork, choice: OptimizerChoice
) -> OptimizerStep:
    settings, accelerator = run.settings, run.accelerator
    trainable.network.to(accelerator.device)
    optimizer = choice.build(trainable.groups, settings.optimizer.learning_rate)
    return OptimizerStep(
        accelerator=accelerator,
        model=model,
        network=trainable.network,
        objective=build_objective(settings.noise, settings.timesteps, settings.loss, accelerator.device),
        optimizer=accelerator.prepare_optimizer(optimizer),
        schedule=build_schedule(settings.schedule, optimizer, run.counts.max_train_steps),
        max_grad_norm=settings.optimizer.max_grad_norm,
        seed=run.seed,
        before_batch=trainable.before_batch,
    )


def _build_loader(run: _Run, model: ModelAdapter, latents: dict[LatentKey, torch.Tensor] | None) -> BatchLoader:
    preparer = BatchPreparer(
        datasets=run.plan.datasets,
        seed=run.seed,
        layout=run.plan.family.latents,
        tokenize=model.tokenize,
        prior_loss_weight=run.settings.loss.prior_loss_weight,
        cached_latents=latents,
    )
    options = run.settings.loader
    settings = choose_loader(
        options.max_data_loader_n_workers,
        options.persistent_data_loader_workers,
        cached=latents is not None,
        device=run.accelerator.device,
    )
    return BatchLoader(preparer, settings)


def _build_saver(run: _Run, trainable: TrainableNetwork, choice: OptimizerChoice) -> NetworkSaver:
    plan = run.plan
    # only the main process saves: the others need not read gigabytes
    is_hashed = plan.source.kind is not SourceKind.HUB and run.accelerator.is_main_process
    thumbnail = run.settings.metadata.metadata_thumbnail
    facts = RunFacts(
        session_id=secrets.randbelow(_SEED_LIMIT),
        started_at=run.started_at,
        seed=run.seed,
        max_train_steps=run.counts.max_train_steps,
        num_epochs=run.counts.num_epochs,
        batches_per_epoch=run.counts.batches_per_process,
        num_processes=run.accelerator.num_processes,
        optimizer=choice.describe(),
        model_name_or_path=plan.source.place,
        model_hashes=hash_model_in_background(Path(plan.source.place)) if is_hashed else None,
        thumbnail=as_data_url(thumbnail) if thumbnail else None,
    )
    metadata = MetadataWriter(plan.resolved, plan.family, plan.datasets, facts)
    return NetworkSaver(trainable.network, run.settings.saving, plan.output_dir, metadata, run.counts.num_epochs)


def _build_previews(
    run: _Run, model: ModelAdapter, trainable: TrainableNetwork, vae_waits_on_cpu: bool
) -> PreviewSchedule:
    options = run.settings.sampling
    return PreviewSchedule(
        accelerator=run.accelerator,
        model=model,
        network=trainable.network,
        options=options,
        prompts=preview_prompts(run.plan.prompts, options.sample_sampler, run.seed),
        output_dir=run.plan.output_dir,
        output_name=run.settings.saving.output_name,
        vae_home=torch.device("cpu") if vae_waits_on_cpu else run.accelerator.device,
    )
