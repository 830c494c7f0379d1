"""Messages on the console or in a file."""

import logging
import os
import sys
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from library.errors import UserError
from library.options.groups import ConsoleOptions

_NOISY_LIBRARIES = (
    "diffusers",
    "transformers",
    "accelerate",
    "httpx",
    "huggingface_hub",
    "PIL",
    "matplotlib",
    "bitsandbytes",
)


def show(text: str, stream: TextIO | None = None) -> None:
    """Prints lines, to the standard output if no other stream is named.

    Where nobody reads any more, as behind `| head`, what is left goes nowhere, and the program goes on.
    """
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def is_main_process() -> bool:
    """Among the processes that `accelerate launch` started; known before anything is imported."""
    return os.environ.get("RANK", "0") == "0"


class _BesideProgressBars(logging.Handler):
    """Writes above a running progress bar instead of through it."""

    def __init__(self, stream_name: str):
        super().__init__()
        self._stream_name = stream_name

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=getattr(sys, self._stream_name))
        except Exception:  # noqa: BLE001 - a message that cannot be shown must not end the training
            self.handleError(record)


def _log_file(path: Path) -> logging.Handler:
    """Adds to a file that exists: it may be the log of an earlier run, or something else by mistake. It is opened
    with the first message.

    Raises:
        UserError: the file cannot be written.
    """
    target = path if path.exists() else path.parent
    if path.is_dir() or not target.exists():
        reason = "it is a folder" if path.is_dir() else f"there is no folder '{path.parent}'"
        raise UserError(f"--console_log_file '{path}' cannot be written: {reason}")
    if not os.access(target, os.W_OK):
        raise UserError(f"--console_log_file '{path}' cannot be written: no permission")
    return logging.FileHandler(path, mode="a", encoding="utf-8", delay=True)


def _show_any_text() -> None:
    """Letters that the console's or a pipe's encoding lacks are written as escapes, such as \\xfc."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def set_up_console(options: ConsoleOptions) -> None:
    """Only the main process writes a log file; errors of the others go to the console.

    Raises:
        UserError: the log file cannot be written.
    """
    level = options.console_log_level or "INFO"
    _show_any_text()
    handler: logging.Handler
    if options.console_log_file is not None and is_main_process():
        handler = _log_file(options.console_log_file)
    else:
        handler = _BesideProgressBars("stdout" if options.console_log_simple else "stderr")
    layout = "%(message)s" if options.console_log_simple else "%(asctime)s %(levelname)-7s %(message)s"
    handler.setFormatter(logging.Formatter(layout, datefmt="%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level if is_main_process() else logging.ERROR)
    logging.captureWarnings(True)
    for name in _NOISY_LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.ERROR, logging.getLevelName(level)))
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
