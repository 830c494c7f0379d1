"""Builds what moves the network: objective, optimizer and schedule."""

import logging
from functools import partial

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch.optim.lr_scheduler import LRScheduler

from library.models.adapter import ModelAdapter
from library.models.family import VELOCITY
from library.optimizers.fused_backward import step_in_backward
from library.optimizers.optimizer_choice import OptimizerChoice
from library.optimizers.schedule import build_schedule
from library.optimizers.schedule_lengths import schedule_notices
from library.optimizers.scheduled_rates import schedule_beside, scheduled_rates
from library.optimizers.stochastic_rounding import round_stochastically
from library.options.groups import PrecisionOptions, ScheduleOptions
from library.options.part_rates import part_rates
from library.options.schema import Settings
from library.training.half_precision_gradients import allow_half_gradients
from library.training.model_setup import dtype_of
from library.training.network_setup import TrainableNetwork
from library.training.network_strength import without_network
from library.training.objective import build_objective
from library.training.optimization import OptimizerStep
from library.training.output_preservation import OutputPreservation
from library.training.run_start import Run
from library.training.weight_versions import WeightAverages

logger = logging.getLogger(__name__)


def check_schedule(settings: Settings, max_train_steps: int) -> ScheduleOptions:
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


def place_network(network: torch.nn.Module, accelerator: Accelerator, precision: PrecisionOptions) -> None:
    """On the device, and in the precision in which it is trained. Only parameters change it: alphas stay exact."""
    network.to(accelerator.device)
    if not (precision.full_fp16 or precision.full_bf16):
        return
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype_of(precision))
    if precision.full_fp16:
        allow_half_gradients(accelerator.scaler)


def build_optimizer_step(
    run: Run,
    model: ModelAdapter,
    trainable: TrainableNetwork,
    choice: OptimizerChoice,
    schedule: ScheduleOptions,
    averages: WeightAverages,
) -> OptimizerStep:
    settings, accelerator = run.settings, run.accelerator
    optimizer, rates = prepare_optimizer(
        _build_optimizer(run, trainable, choice), schedule, run.counts.max_train_steps, accelerator
    )
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
        optimizer=optimizer,
        schedule=rates,
        max_grad_norm=settings.optimizer.max_grad_norm,
        max_weight_norm=settings.network.scale_weight_norms,
        seed=run.seed,
        before_batch=trainable.before_batch,
        after_update=averages.after_step,
    )


def prepare_optimizer(
    optimizer: torch.optim.Optimizer, schedule: ScheduleOptions, max_train_steps: int, accelerator: Accelerator
) -> tuple[AcceleratedOptimizer, LRScheduler]:
    """The optimizer as fp16 needs it, and its learning rates."""
    # first the schedule: both wrap the optimizer's step, and accelerate puts back after each what it found
    rates = build_schedule(schedule, optimizer, max_train_steps)
    return accelerator.prepare_optimizer(optimizer), rates


def _build_optimizer(run: Run, trainable: TrainableNetwork, choice: OptimizerChoice) -> torch.optim.Optimizer:
    options = run.settings.optimizer
    optimizer = choice.build(trainable.groups, options.learning_rate, options.fused_backward_pass)
    if run.settings.precision.full_bf16:
        round_stochastically(optimizer, run.seed)
    if options.fused_backward_pass:
        step_in_backward(optimizer)
    return optimizer
