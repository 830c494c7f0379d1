"""Messages on the console or in a file."""

import logging
import os
import sys
from pathlib import Path

from tqdm import tqdm

from library.errors import UserError
from library.options.groups import ConsoleOptions

_NOISY_LIBRARIES = ("diffusers", "transformers", "accelerate", "httpx", "huggingface_hub", "PIL", "matplotlib")


def is_main_process() -> bool:
    """Among the processes that `accelerate launch` started; known before anything is imported."""
    return os.environ.get("RANK", "0") == "0"


class _BesideProgressBars(logging.Handler):
    """Writes above a running progress bar instead of through it."""

    def __init__(self, stream_name: str):
        super().__init__()
        self._stream_name = stream_name

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=getattr(sys, self._stream_name))


def _log_file(path: Path) -> logging.Handler:
    try:
        return logging.FileHandler(path, mode="w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--console_log_file '{path}' cannot be written: {error.strerror}") from None


def set_up_console(options: ConsoleOptions) -> None:
    """
    Raises:
        UserError: the log file cannot be written.
    """
    level = options.console_log_level or "INFO"
    handler: logging.Handler
    if options.console_log_file is not None:
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
