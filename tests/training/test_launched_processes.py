"""What the environment tells about the processes of a run, as accelerate itself sets it."""

import os

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env, prepare_simple_launcher_cmd_env

from library.training.launched_processes import lacks_processes, launched_processes, started_by_accelerate
from tests.training.command import as_words, least_arguments, train

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_MIXED_PRECISION")


@pytest.fixture(autouse=True)
def _without_launcher(monkeypatch):
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)


def launch(monkeypatch, *words: str) -> None:
    """Sets what a process finds that `accelerate launch` starts without torchrun."""
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args([*words, "train_network.py"]))
    _, environment = prepare_simple_launcher_cmd_env(arguments)
    for name in set(environment) - set(os.environ):
        monkeypatch.setenv(name, environment[name])


def test_one_of_several_that_were_asked_for(monkeypatch):
    launch(monkeypatch, "--cpu", "--num_processes", "2")
    assert (launched_processes(), started_by_accelerate(), lacks_processes()) == (1, True, True)


def test_one_that_was_asked_for(monkeypatch):
    launch(monkeypatch, "--num_processes", "1")
    assert (started_by_accelerate(), lacks_processes()) == (True, False)


def test_all_that_were_asked_for(monkeypatch):
    words = ["--multi_gpu", "--num_processes", "2", "train_network.py"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", prepare_multi_gpu_env(arguments)["ACCELERATE_MIXED_PRECISION"])
    for name, value in {"WORLD_SIZE": "2", "MASTER_PORT": "29500"}.items():  # of torchrun
        monkeypatch.setenv(name, value)
    assert (launched_processes(), started_by_accelerate(), lacks_processes()) == (2, True, False)


def test_another_launcher(monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert (started_by_accelerate(), lacks_processes()) == (False, False)


def test_a_run_says_that_processes_are_missing(tiny_model, train_data_dir, tmp_path, monkeypatch, capsys):
    arguments = least_arguments(tiny_model, train_data_dir, tmp_path / "out")
    launch(monkeypatch, "--cpu", "--num_processes", "2")
    assert train(*as_words(arguments | {"--max_train_steps": "1"})) == 0
    shown = capsys.readouterr().err
    assert "processes: 1\n" in shown
    assert "accelerate launch was asked for several processes but started one" in shown
    assert "give it --multi_gpu in front of the script" in shown
