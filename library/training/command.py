"""The life of a training command: options, checks, training, exit code."""

import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from library.atomic_files import write_text_atomically
from library.console import is_main_process, set_up_console, show
from library.errors import UserError, format_problems
from library.models.family import ModelFamily
from library.models.optional_packages import hide_unused_packages
from library.optimizers.known_optimizers import find_optimizer
from library.options.command_line import build_parser
from library.options.config_file import config_path
from library.options.report import configuration_without_secrets, effective_configuration
from library.options.resolution import ResolvedOptions, resolve_options
from library.training.launched_processes import launched_processes
from library.training.planning.show_plan import show_plan
from library.training.preflight import check_run

SUCCESS = 0
USER_ERROR = 1
INTERRUPTED = 130
TERMINATED = 143

logger = logging.getLogger(__name__)


class Termination(KeyboardInterrupt):
    """The signal SIGTERM, by which the system or a job queue ends a process."""


def run_training_command(
    program: str, description: str, families: Sequence[ModelFamily], arguments: Sequence[str]
) -> int:
    """Runs a training script for models of the given families. Returns the process's exit code."""
    with _termination_raised():
        return _run(program, description, families, arguments)


def _run(program: str, description: str, families: Sequence[ModelFamily], arguments: Sequence[str]) -> int:
    resolved = resolve_options(build_parser(program, description), arguments)
    has_started = False
    try:
        set_up_console(resolved.settings.console)
        if resolved.settings.config.output_config:
            return _write_configuration(resolved)
        if resolved.settings.data.debug_dataset:
            if is_main_process():
                show_plan(resolved, families, launched_processes())
            return SUCCESS
        plan = check_run(resolved, families)
        logger.info(effective_configuration(resolved))
        hide_unused_packages({find_optimizer(resolved.settings.optimizer).package} | _attention_packages(resolved))
        from library.training.setup import start_training  # imports torch: not before everything was checked

        has_started = True
        path = start_training(plan)
    except UserError as error:
        # what was checked before is the same in every process; later, any of them may meet a damaged image
        if is_main_process() or has_started:
            print(format_problems(error.problems), file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt as interruption:
        if is_main_process():
            show(_what_was_interrupted(interruption), sys.stderr)
        return TERMINATED if isinstance(interruption, Termination) else INTERRUPTED
    if path is not None:
        logger.info("finished: %s", path)
    return SUCCESS


@contextmanager
def _termination_raised() -> Iterator[None]:
    """SIGTERM ends the main process as Ctrl-C does. The others end at once: they may be waiting for each other."""
    if not is_main_process():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _raise_termination)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _raise_termination(number: int, frame: FrameType | None) -> None:
    raise Termination


def _what_was_interrupted(interruption: KeyboardInterrupt) -> str:
    what = "Ended by SIGTERM" if isinstance(interruption, Termination) else "Interrupted"
    notes = getattr(interruption, "__notes__", ["before the training began; no network was saved"])
    return f"{what} {'; '.join(notes)}."


def _attention_packages(resolved: ResolvedOptions) -> set[str]:
    return {"xformers"} if resolved.settings.attention.xformers else set()


def _write_configuration(resolved: ResolvedOptions) -> int:
    """--output_config: never overwrites a file.

    Raises:
        UserError: the options are wrong, or the file exists.
    """
    given = resolved.settings.config.config_file
    if resolved.problems or given is None:
        raise UserError(resolved.problems)
    path = config_path(given)
    if path.exists():
        raise UserError(f"--config_file '{path}' exists already; name a new file for --output_config")
    try:
        write_text_atomically(path, configuration_without_secrets(resolved))
    except OSError as error:
        raise UserError(f"--config_file '{path}' cannot be written: {error.strerror}") from None
    print(f"Wrote {path}")
    return SUCCESS
