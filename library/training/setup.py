"""Builds everything a run needs, in the order of its dependencies, and starts it."""

import logging
from functools import partial
from pathlib import Path
from types import ModuleType

from library.dataset.batches.batch_preparation import BatchPreparer
from library.dataset.batches.cached_latents import LatentSource
from library.dataset.batches.loading import BatchLoader, choose_loader
from library.models.adapter import ModelAdapter
from library.models.block_compilation import check_backend, compiler_errors_in_one_line
from library.optimizers.evaluation_weights import evaluation_weights
from library.optimizers.optimizer_choice import choose_optimizer
from library.training.attention_kernels import attention_kernels
from library.training.base_weights import merge_base_weights
from library.training.caption_lengths import overlong_captions, overlong_prompts
from library.training.latent_cache_setup import cache_latents
from library.training.model_setup import load_base_model, prepare_base_model
from library.training.network_setup import TrainableNetwork, build_network
from library.training.network_strength import require_strengths
from library.training.noising import draw_recipe
from library.training.optimizer_setup import build_optimizer_step, check_schedule, place_network
from library.training.output_setup import build_image_losses, build_previews, build_saver
from library.training.preflight import RunPlan
from library.training.run_start import Run, begin_run
from library.training.saved_network import report_clients
from library.training.summary import describe_run
from library.training.text_cache_setup import CachedText, cache_text
from library.training.tracking import start_tracking
from library.training.trainer import Trainer
from library.training.unreadable_images import UnreadableImages
from library.training.weight_norms import require_norm_limit
from library.training.weight_versions import WeightAverages, WeightVersion
from networks.contract import import_network_module

logger = logging.getLogger(__name__)


def start_training(plan: RunPlan) -> Path | None:
    """Trains what the plan says. Returns the final file, on the main process.

    Raises:
        UserError: something only shows once libraries and model are loaded.
    """
    settings = plan.resolved.settings
    network_module = import_network_module(str(settings.network.network_module))
    optimizer_choice = choose_optimizer(settings.optimizer)
    run = begin_run(plan)
    schedule = check_schedule(settings, run.counts.max_train_steps)
    for line in describe_run(plan, run.counts, run.accelerator.num_processes, run.seed):
        logger.info(line)

    accelerator, device = run.accelerator, run.accelerator.device
    model, trainable = _build_model_and_network(run, network_module)
    place_network(trainable.network, accelerator, settings.precision)
    averages = WeightAverages(trainable.network, settings.averaging)
    optimizer_step = build_optimizer_step(run, model, trainable, optimizer_choice, schedule, averages)
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
        saver=build_saver(run, model, trainable, optimizer_choice, trained, averages),
        previews=build_previews(
            run,
            model,
            trainable,
            latents is not None,
            text is not None,
            averages.ema if averages.ema is not None and settings.averaging.sample_with_ema else trained,
        ),
        image_losses=build_image_losses(run),
    )
    memory_efficient = settings.attention.mem_eff_attn and not settings.attention.xformers
    with attention_kernels(memory_efficient), compiler_errors_in_one_line(settings.attention.dynamo_backend):
        return trainer.train()


def _build_model_and_network(run: Run, network_module: ModuleType) -> tuple[ModelAdapter, TrainableNetwork]:
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


def _build_unreadable_images(run: Run) -> UnreadableImages:
    used = sum(record.repeats > 0 for dataset in run.plan.datasets for record in dataset.records)
    # the console of other processes shows errors only
    return UnreadableImages(used, logging.WARNING if run.accelerator.is_main_process else logging.ERROR)


def _build_loader(run: Run, model: ModelAdapter, latents: LatentSource | None, text: CachedText | None) -> BatchLoader:
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
