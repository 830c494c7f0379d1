"""Watching a run: logs, previews, validation, console."""

from pathlib import Path
from typing import ClassVar, Literal

from library.options.declaration import OptionGroup, option

WANDB = "logging to Weights & Biases"
VALIDATION = "validation"

SAMPLERS_PENDING = (
    "pndm", "lms", "heun", "dpm_2", "dpm_2_a", "dpmsolver", "dpmsolver++", "dpmsingle", "k_lms", "k_dpm_2", "k_dpm_2_a",
)  # fmt: skip

Sampler = Literal[
    "ddim", "pndm", "lms", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a", "dpmsolver", "dpmsolver++", "dpmsingle",
    "k_lms", "k_euler", "k_euler_a", "k_dpm_2", "k_dpm_2_a",
]  # fmt: skip


class SamplingOptions(OptionGroup):
    title: ClassVar[str] = "Previews"

    sample_prompts: Path | None = option(help="File with the prompts of the previews: .txt, .toml or .json.")
    sample_every_n_steps: int | None = option(
        ge=0, unit="steps", help="Draw previews after every n-th step; 0 = never."
    )
    sample_every_n_epochs: int | None = option(
        ge=0, unit="epochs", help="Draw previews after every n-th epoch; beats the interval in steps; 0 = never."
    )
    sample_at_first: bool = option(False, help="Draw previews before the first step, too.")
    sample_sampler: Sampler = option(
        "ddim", help="Sampler of prompts that name none.", pending_choices=SAMPLERS_PENDING
    )


class LoggingOptions(OptionGroup):
    title: ClassVar[str] = "Logging"

    logging_dir: Path | None = option(help="Folder for TensorBoard logs; each run gets a sub-folder of its own.")
    log_with: Literal["tensorboard", "wandb", "all"] | None = option(
        help="Where logs go; TensorBoard when --logging_dir is given.", pending_choices=("wandb", "all")
    )
    log_prefix: str | None = option(help="What the name of the sub-folder begins with.")
    log_tracker_name: str | None = option(help="Name of the log inside the sub-folder; default network_train.")
    log_config: bool = option(False, help="Log the options, too (without secrets).")
    log_image_losses: bool = option(
        False,
        help="Keep the loss of every image of every step in OUTPUT_NAME-image-losses.csv beside the network; "
        "tools/image_losses.py tells which images are hard.",
    )
    log_tracker_config: Path | None = option(help="TOML file with settings for the logger.", pending=WANDB)
    wandb_run_name: str | None = option(help="Name of the run.", pending=WANDB)
    wandb_api_key: str | None = option(help="Key of the service.", secret=True, pending=WANDB)


class ValidationOptions(OptionGroup):
    title: ClassVar[str] = "Validation"

    validation_split: float = option(
        0.0,
        ge=0,
        le=1,
        unit="share",
        help="So much of each folder is held out: never trained on. Regularisation images are not.",
    )
    validation_seed: int | None = option(
        ge=0, help="Seed of the choice of these images; default: --seed, or 0 without one."
    )
    validate_every_n_steps: int | None = option(ge=1, unit="steps", help="Validate every n steps.", pending=VALIDATION)
    validate_every_n_epochs: int | None = option(
        ge=1, unit="epochs", help="Validate every n epochs.", pending=VALIDATION
    )
    max_validation_steps: int | None = option(ge=1, unit="batches", help="Most batches validated.", pending=VALIDATION)


class ConsoleOptions(OptionGroup):
    title: ClassVar[str] = "Console"

    console_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None = option(
        help="Least important messages shown; default INFO."
    )
    console_log_file: Path | None = option(help="Add messages to the end of this file instead of showing them.")
    console_log_simple: bool = option(False, help="Messages as plain lines on standard output, without level or time.")


class ConfigOptions(OptionGroup):
    title: ClassVar[str] = "Configuration file"

    config_file: Path | None = option(
        help="TOML file with options; the command line beats it. '.toml' may be left out."
    )
    output_config: bool = option(
        False, help="Write the options that differ from their defaults to --config_file (no secrets), then stop."
    )
