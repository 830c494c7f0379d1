"""Messages on the console and in a log file."""

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from library.console import set_up_console
from library.errors import UserError
from library.options.groups import ConsoleOptions

ROOT = Path(__file__).parents[1]


def in_ascii(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("simple", [True, False])
def test_letters_that_the_console_lacks(simple):
    result = in_ascii(
        "import logging; from library.console import *; "
        f"set_up_console(ConsoleOptions(console_log_simple={simple})); logging.info('Br\\u00fcder \\u732b')"
    )
    assert result.returncode == 0
    assert r"Br\xfcder \u732b" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no broken pipes")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_nobody_reads_any_more(stream):
    """As behind `| head -1`."""
    code = (
        "import sys; from library.console import show\n"
        f"for number in range(9999): show('line ' * 20, sys.{stream})\n"
        "sys.exit(7)"
    )
    reading, writing = os.pipe()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writing}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, **pipes) as process:
        os.close(writing)
        os.read(reading, 10)
        os.close(reading)
        assert process.communicate() == ((None, "") if stream == "stdout" else ("", None))
    assert process.returncode == 7


def test_a_message_that_cannot_be_shown_ends_nothing(monkeypatch, capsys):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    set_up_console(ConsoleOptions(console_log_simple=True))
    monkeypatch.setattr(sys, "stdout", stream)
    logging.info("Brüder")
    assert "UnicodeEncodeError" in capsys.readouterr().err


def log(path: Path, message: str) -> None:
    set_up_console(ConsoleOptions(console_log_file=path))
    logging.info(message)


def test_a_file_that_exists_is_added_to(tmp_path):
    path = tmp_path / "dog.toml"
    path.write_text("resolution = 512\n")
    log(path, "first")
    log(path, "second")
    first, second, third = path.read_text().splitlines()
    assert first == "resolution = 512"
    assert second.endswith("first")
    assert third.endswith("second")


def test_the_file_is_made_with_the_first_message(tmp_path):
    set_up_console(ConsoleOptions(console_log_file=tmp_path / "log.txt"))
    assert list(tmp_path.iterdir()) == []


def test_only_the_main_process_writes_the_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    set_up_console(ConsoleOptions(console_log_file=tmp_path / "log.txt"))
    logging.error("of another process")
    assert list(tmp_path.iterdir()) == []
    assert "of another process" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "reason"), [("", "it is a folder"), ("missing/log.txt", "there is no folder")])
def test_files_that_cannot_be_written(tmp_path, name, reason):
    with pytest.raises(UserError, match=f"--console_log_file .* cannot be written: {reason}"):
        set_up_console(ConsoleOptions(console_log_file=tmp_path / name))
