"""Builds everything a run needs, in the order of its dependencies, and starts it."""

import logging
import secrets
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list

from library.dataset.batch_plan import count_batches
from library.dataset.batches.batch_preparation import BatchPreparer
from library.dataset.batches.cached_latents import LatentSource
from library.dataset.batches.loading import BatchLoader, choose_loader
from library.errors import UserError
from library.metadata.model_hashes import hash_model_in_background
from library.metadata.modelspec import as_data_url
from library.metadata.training_metadata import MetadataWriter, ModelOrigin, RunFacts
from library.models.adapter import ModelAdapter
from library.models.block_compilation import check_backend, compiler_errors_in_one_line
from library.models.family import VELOCITY
from library.optimizers.evaluation_weights import evaluation_weights
from library.optimizers.fused_backward import step_in_backward
from library.optimizers.optimizer_choice import OptimizerChoice, choose_optimizer
from library.optimizers.schedule import build_schedule
from library.optimizers.schedule_lengths import schedule_notices
from library.optimizers.scheduled_rates import schedule_beside, scheduled_rates
from library.optimizers.stochastic_rounding import round_stochastically
from library.options.groups import PrecisionOptions, ScheduleOptions
from library.options.part_rates import part_rates
from library.options.schema import Settings
from library.sampling.previews import preview_prompts
from library.training.attention_kernels import attention_kernels
from library.training.base_weights import merge_base_weights
from library.training.batch_schedule import BatchSchedule
from library.training.caption_lengths import overlong_captions, overlong_prompts
from library.training.file_names import snapshot_folder
from library.training.half_precision_gradients import allow_half_gradients
from library.training.image_losses import ImageLossRecord, image_losses_file
from library.training.latent_cache_setup import cache_latents
from library.training.launched_processes import launched_processes
from library.training.model_checks import LocalModel
from library.training.model_setup import CPU, dtype_of, load_base_model, prepare_base_model
from library.training.network_setup import TrainableNetwork, build_network
from library.training.network_start import size_of
from library.training.network_strength import require_strengths, without_network
from library.training.noising import draw_recipe
from library.training.objective import build_objective
from library.training.optimization import OptimizerStep
from library.training.output_preservation import OutputPreservation
from library.training.preflight import RunPlan
from library.training.preview_schedule import PreviewSchedule
from library.training.save_schedule import SNAPSHOT_PRECISION, SaveSchedule
from library.training.saved_network import report_clients, report_verification
from library.training.saving import PRECISIONS, NetworkSaver
from library.training.snapshot_saving import SnapshotSaver
from library.training.step_counts import StepCounts, count_steps
from library.training.summary import describe_run
from library.training.text_cache_setup import CachedText, cache_text
from library.training.tracking import log_folder, start_tracking
from library.training.trainer import Trainer
from library.training.unreadable_images import UnreadableImages
from library.training.weight_norms import require_norm_limit
from library.training.weight_versions import WeightAverages, WeightVersion
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
    schedule: BatchSchedule

    @property
    def settings(self) -> Settings:
        return self.plan.resolved.settings


def start_training(plan: RunPlan) -> Path | None:
    """Trains what the plan says. Returns the final file, on the main process.

    Raises:
        UserError: something only shows once libraries and model are loaded.
    """
    settings = plan.resolved.settings
    network_module = import_network_module(str(settings.network.network_module))
    optimizer_choice = choose_optimizer(settings.optimizer)
    run = _begin(plan)
    schedule = _check_schedule(settings, run.counts.max_train_steps)
    for line in describe_run(plan, run.counts, run.accelerator.num_processes, run.seed):
        logger.info(line)

    accelerator, device = run.accelerator, run.accelerator.device
    model, trainable = _build_model_and_network(run, network_module)
    _place_network(trainable.network, accelerator, settings.precision)
    averages = WeightAverages(trainable.network, settings.averaging)
    optimizer_step = _build_optimizer_step(run, model, trainable, optimizer_choice, schedule, averages)
    trained = WeightVersion("", partial(evaluation_weights, optimizer_step.optimizer))
    # encoding takes long: only now that nothing can be wrong with the options any more
    latents = cache_latents(plan, model, run.seed, accelerator)
    text = cache_text(plan, model, run.schedule, accelerator)
    model.move_unet(device)
    plan.output_dir.mkdir(parents=True, exist_ok=True)
    start_tracking(run.accelerator, plan.resolved)
    trainer = Trainer(
        accelerator=run.accelerator,
        schedule=run.schedule,
        loader=_build_loader(run, model, latents, text),
        unreadable=_build_unreadable_images(run),
        optimizer_step=optimizer_step,
        before_epoch=trainable.before_epoch,
        descriptions=trainable.descriptions,
        counts=run.counts,
        saver=_build_saver(run, model, trainable, optimizer_choice, trained, averages),
        previews=_build_previews(
            run,
            model,
            trainable,
            latents is not None,
            text is not None,
            averages.ema if averages.ema is not None and settings.averaging.sample_with_ema else trained,
        ),
        image_losses=_build_image_losses(run),
    )
    memory_efficient = settings.attention.mem_eff_attn and not settings.attention.xformers
    with attention_kernels(memory_efficient), compiler_errors_in_one_line(settings.attention.dynamo_backend):
        return trainer.train()


def _check_schedule(settings: Settings, max_train_steps: int) -> ScheduleOptions:
    """Goes through the whole run's learning rates before anything is loaded. Returns what the optimizer leaves of the
    schedule.

    Raises:
        UserError: there is no such schedule, or the run cannot go through it.
    """
    schedule = schedule_beside(settings.optimizer, settings.schedule)
    rates = [rate for part in part_rates(settings.network, settings.optimizer) for rate in part.rates]
    scheduled_rates(schedule, settings.optimizer, rates, max_train_steps)
    for notice in schedule_notices(schedule, max_train_steps):
        logger.warning(notice)
    return schedule


def _build_model_and_network(run: _Run, network_module: ModuleType) -> tuple[ModelAdapter, TrainableNetwork]:
    plan, settings = run.plan, run.settings
    if settings.attention.torch_compile:
        check_backend(settings.attention.dynamo_backend)
    accelerator = run.accelerator
    model = load_base_model(plan, accelerator.device)
    merge_base_weights(model, settings.network, network_module, accelerator.device, accelerator.is_main_process)
    prepare_base_model(model, settings)
    if accelerator.is_main_process:
        _report_overlong_texts(plan, model)
    trainable = build_network(
        network_module, model, settings.network, settings.optimizer, plan.resolved.values(), run.seed,
        settings.training.gradient_checkpointing,
    )  # fmt: skip
    require_strengths(trainable.network, str(settings.network.network_module), plan.datasets)
    if settings.network.scale_weight_norms is not None:
        require_norm_limit(trainable.network, str(settings.network.network_module))
    report_clients(trainable.network)
    if settings.attention.torch_compile:
        model.compile_blocks(settings.attention.dynamo_backend)
    return model, trainable


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
    _require_all_processes(accelerator)
    if settings.optimizer.fused_backward_pass and accelerator.num_processes > 1:
        raise UserError(
            f"--fused_backward_pass with {accelerator.num_processes} processes: each weight moves before its gradient "
            "could be averaged over the processes; leave it out, or train with one process"
        )
    counts = count_steps(
        count_batches(plan.datasets),
        accelerator.num_processes,
        settings.training.gradient_accumulation_steps,
        settings.training.max_train_steps,
        settings.training.max_train_epochs,
    )
    seed = _agree_on_seed(settings.training.seed)
    schedule = BatchSchedule(plan.datasets, seed, counts, accelerator.num_processes)
    return _Run(plan, accelerator, seed, counts, started_at, schedule)


def _require_all_processes(accelerator: Accelerator) -> None:
    """Each would train everything and write the same files.

    Raises:
        UserError: the processes that were started do not know of each other.
    """
    started = launched_processes()
    if started != accelerator.num_processes:
        raise UserError(
            f"{started} processes were started, but each sees {accelerator.num_processes}: without GPUs, set the "
            "environment variable ACCELERATE_USE_CPU=true; otherwise start them with accelerate launch --multi_gpu; "
            "if only one was started, unset WORLD_SIZE"
        )


def _agree_on_seed(given: int | None) -> int:
    """The seed of the run, the same in every process."""
    choice = [secrets.randbelow(_SEED_LIMIT) if given is None else given]
    broadcast_object_list(choice)
    return int(choice[0])


def _build_optimizer_step(
    run: _Run,
    model: ModelAdapter,
    trainable: TrainableNetwork,
    choice: OptimizerChoice,
    schedule: ScheduleOptions,
    averages: WeightAverages,
) -> OptimizerStep:
    settings, accelerator = run.settings, run.accelerator
    optimizer = _build_optimizer(run, trainable, choice)
    return OptimizerStep(
        accelerator=accelerator,
        model=model,
        network=trainable.network,
        objective=build_objective(
            settings.noise,
            settings.timesteps,
            settings.loss,
            predicts_velocity=model.family.prediction_type == VELOCITY,
            device=accelerator.device,
            preservation=OutputPreservation(
                without_network=partial(without_network, trainable.network),
                adapts_text_encoders=not settings.network.network_train_unet_only,
            ),
        ),
        optimizer=accelerator.prepare_optimizer(optimizer),
        schedule=build_schedule(schedule, optimizer, run.counts.max_train_steps),
        max_grad_norm=settings.optimizer.max_grad_norm,
        max_weight_norm=settings.network.scale_weight_norms,
        seed=run.seed,
        before_batch=trainable.before_batch,
        after_update=averages.after_step,
    )


def _build_optimizer(run: _Run, trainable: TrainableNetwork, choice: OptimizerChoice) -> torch.optim.Optimizer:
    options = run.settings.optimizer
    optimizer = choice.build(trainable.groups, options.learning_rate, options.fused_backward_pass)
    if run.settings.precision.full_bf16:
        round_stochastically(optimizer, run.seed)
    if options.fused_backward_pass:
        step_in_backward(optimizer)
    return optimizer


def _place_network(network: torch.nn.Module, accelerator: Accelerator, precision: PrecisionOptions) -> None:
    """On the device, and in the precision in which it is trained. Only parameters change it: alphas stay exact."""
    network.to(accelerator.device)
    if not (precision.full_fp16 or precision.full_bf16):
        return
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype_of(precision))
    if precision.full_fp16:
        allow_half_gradients(accelerator.scaler)


def _report_overlong_texts(plan: RunPlan, model: ModelAdapter) -> None:
    prompts = [
        (f"prompt {prompt['enum'] + 1}", prompt[field])
        for prompt in plan.prompts
        for field in ("prompt", "negative_prompt")
        if field in prompt
    ]
    for report in (
        overlong_captions(plan.datasets, model.tokenize.count, model.tokenize.limit),
        overlong_prompts(prompts, model.tokenize.for_prompts([]).count),
    ):
        if report:
            logger.warning(report)


def _build_unreadable_images(run: _Run) -> UnreadableImages:
    used = sum(record.repeats > 0 for dataset in run.plan.datasets for record in dataset.records)
    # the console of other processes shows errors only
    return UnreadableImages(used, logging.WARNING if run.accelerator.is_main_process else logging.ERROR)


def _build_loader(run: _Run, model: ModelAdapter, latents: LatentSource | None, text: CachedText | None) -> BatchLoader:
    preparer = BatchPreparer(
        datasets=run.plan.datasets,
        seed=run.seed,
        layout=run.plan.family.latents,
        tokenize=model.tokenize,
        prior_loss_weight=run.settings.loss.prior_loss_weight,
        max_train_steps=run.counts.max_train_steps,
        pictures=run.plan.pictures,
        recipe=draw_recipe(run.settings.noise, run.settings.timesteps),
        cached_latents=latents,
        cached_text=None if text is None else text.lookup,
        caption_variants=None if text is None else text.variants,
        skips_unreadable=run.settings.data.unreadable_images == "skip",
    )
    options = run.settings.loader
    settings = choose_loader(
        options.max_data_loader_n_workers,
        cached=latents is not None,
        device=run.accelerator.device,
    )
    return BatchLoader(preparer, settings)


def _build_saver(
    run: _Run,
    model: ModelAdapter,
    trainable: TrainableNetwork,
    choice: OptimizerChoice,
    trained: WeightVersion,
    averages: WeightAverages,
) -> NetworkSaver:
    plan = run.plan
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


def _build_snapshots(run: _Run, network: torch.nn.Module, averages: WeightAverages) -> SnapshotSaver | None:
    every, saving = run.settings.averaging.ema_snapshots_every_n_steps, run.settings.saving
    if every is None:
        return None
    folder = run.plan.output_dir / snapshot_folder(saving.output_name)
    return SnapshotSaver(
        network, averages.snapshots, every, folder, PRECISIONS[saving.save_precision or SNAPSHOT_PRECISION]
    )


def _build_image_losses(run: _Run) -> ImageLossRecord | None:
    if not run.settings.logging.log_image_losses:
        return None
    path = run.plan.output_dir / image_losses_file(run.settings.saving.output_name)
    return ImageLossRecord(path, run.accelerator)


def _origin(model: LocalModel, accelerator: Accelerator) -> ModelOrigin:
    # only the main process saves: the others need not read gigabytes
    is_hashed = accelerator.is_main_process and not model.is_from_hub
    return ModelOrigin(model.name, hash_model_in_background(Path(model.name)) if is_hashed else None)


def _build_previews(
    run: _Run,
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
