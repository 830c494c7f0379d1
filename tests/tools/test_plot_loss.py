"""The loss curve: which log it is drawn from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

TOOL = Path(__file__).parents[2] / "tools" / "plot_loss.py"


def put_log(folder: Path, name: str, values: list[float], age: int, last_change: int = 0) -> None:
    """
    Args:
        age: of the run; the lowest one is the newest.
        last_change: seconds after the run's beginning.
    """
    with SummaryWriter(folder) as writer:
        for step, value in enumerate(values, 1):
            writer.add_scalar(name, value, step)
    for file in folder.glob("events.*"):
        os.utime(file, (1, 1_000_000 - 1000 * age + last_change))


def plot(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, TOOL, folder, folder / "curve.png"], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("tracker", ["network_train", "mine"])
def test_the_newest_run_counts_whatever_its_log_is_called(tmp_path, tracker):
    put_log(tmp_path / "20260101" / "network_train", "loss/current", [1.0], age=2)
    put_log(tmp_path / "20260102" / tracker, "loss/current", [2.0], age=1)
    put_log(tmp_path / "20260102" / tracker / "176", "options", [0.0], age=1, last_change=5)
    result = plot(tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"from {tmp_path / '20260102' / tracker}" in result.stdout
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_a_log_without_losses(tmp_path):
    put_log(tmp_path / "20260101" / "network_train", "loss/current", [1.0], age=2)
    put_log(tmp_path / "20260102" / "network_train", "something", [1.0], age=1)
    result = plot(tmp_path)
    assert result.returncode == 1
    assert "20260102" in result.stderr
    assert "holds no losses" in result.stderr
    assert "Traceback" not in result.stderr


def test_no_log(tmp_path):
    result = plot(tmp_path)
    assert result.returncode == 1
    assert "holds no TensorBoard log" in result.stderr
