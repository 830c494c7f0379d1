"""The beginning of a run: its processes, its length, its seed and its batches."""

import logging
import secrets
import time
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list

from library.dataset.batch_plan import count_batches
from library.errors import UserError
from library.options.schema import Settings
from library.training.batch_schedule import BatchSchedule
from library.training.launched_processes import lacks_processes, launched_processes
from library.training.preflight import RunPlan
from library.training.step_counts import StepCounts, count_steps
from library.training.tracking import log_folder

SEED_LIMIT = 2**32

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
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


def begin_run(plan: RunPlan) -> Run:
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
    return Run(plan, accelerator, seed, counts, started_at, schedule)


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
    if lacks_processes():
        logger.warning(
            "accelerate launch was asked for several processes but started one, as it does where it finds a single GPU "
            "or none, or is configured for one; to start them, give it --multi_gpu in front of the script (without "
            "GPUs, also set the environment variable ACCELERATE_USE_CPU=true); if one is meant, give "
            "--num_processes 1, and unset MASTER_PORT if it is set"
        )


def _agree_on_seed(given: int | None) -> int:
    """The seed of the run, the same in every process."""
    choice = [secrets.randbelow(SEED_LIMIT) if given is None else given]
    broadcast_object_list(choice)
    return int(choice[0])
