"""What a run says of its network: which programs read it, and that the last file is what was trained."""

import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from library.training import network_saving
from tests.training.command import least_arguments
from tests.training.running import run

DIFFUSERS_REFUSES = "not every program reads what is trained here"


@pytest.fixture
def arguments(tiny_model, train_data_dir, tmp_path):
    return {**least_arguments(tiny_model, train_data_dir, tmp_path / "out"), "--cache_latents": None}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, None),
        ({"network_module": "networks.loha"}, "  diffusers: LoHa: refuses the whole file\n"),
        ({"network_module": "networks.dora"}, "  diffusers: DoRA per input: loads it wrong: drops the magnitudes"),
        ({"network_module": "networks.ia3"}, "  ComfyUI: (IA)^3: does not load it\n"),
    ],
)
def test_which_programs_cannot_read_it(arguments, capsys, options, said):
    run(arguments, max_train_steps=1, save_every_n_steps=1, **options)
    shown = capsys.readouterr().err
    assert shown.count(DIFFUSERS_REFUSES) == (0 if said is None else 1)
    assert said is None or said in shown


@pytest.mark.parametrize(
    "options", [{}, {"mixed_precision": "bf16"}, {"save_precision": "fp16"}, {"network_dropout": 0.5}]
)
def test_the_last_file_is_compared_with_the_network(arguments, capsys, options):
    file = run(arguments, save_every_n_steps=2, **options)
    shown = capsys.readouterr().err
    assert shown.count("INFO    checked ") == 1
    (said,) = re.findall(f"checked {re.escape(str(file))}: (.*)", shown)
    assert "layers compute what was trained (to " in said or "mixed_precision" in options
    assert sum(map(int, re.findall(r"(\d+) layers? c", said))) == 204


def test_a_file_that_is_not_what_was_trained_is_told(arguments, capsys, monkeypatch):
    original = network_saving.save_network

    def save_scaled(network, path, dtype, metadata):
        original(network, path, dtype, metadata)
        weights = load_file(path)
        save_file({name: 2 * value if "alpha" in name else value for name, value in weights.items()}, path)

    monkeypatch.setattr("library.training.saving.save_network", save_scaled)
    file = run(arguments)
    shown = capsys.readouterr().err
    assert f"WARNING '{file}': " in shown
    assert "layers do not compute what was trained" in shown


def test_a_check_that_fails_costs_nothing(arguments, capsys, monkeypatch):
    monkeypatch.setattr("library.training.saved_network.verify_saved_file", None)
    assert torch.is_tensor(next(iter(load_file(run(arguments, max_train_steps=1)).values())))
    assert "cannot be checked" in capsys.readouterr().err
