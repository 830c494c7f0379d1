"""Whole runs that keep averages of the weights."""

import re

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import write_train_data
from tests.training.command import as_words, least_arguments, train
from tests.training.running import assert_same_weights, metadata_of, run
from tools.synthesize_ema import main as synthesize

STEPS, DECAY, EVERY = 6, 0.9, 2


@pytest.fixture(scope="module")
def runs(tiny_model, tmp_path_factory):
    """Folders of the same run without averages and with all of them; what it saves after every step is exact."""
    folder = tmp_path_factory.mktemp("averaged")
    images = write_train_data(folder)
    outputs = folder / "plain", folder / "averaged"
    averaging = {
        "ema_decay": DECAY, "ema_device": "cpu", "ema_snapshots_every_n_steps": EVERY, "save_every_n_steps": 1,
        "save_precision": "float",
    }  # fmt: skip
    for output, options in zip(outputs, ({"save_precision": "float"}, averaging), strict=True):
        run(least_arguments(tiny_model, images, output), output_dir=output, max_train_steps=STEPS, **options)
    return outputs


def weights(folder, name) -> dict[str, torch.Tensor]:
    return {key: tensor.double() for key, tensor in load_file(folder / f"{name}.safetensors").items()}


def test_training_itself_is_as_without(runs):
    plain, averaged = (folder / "tiny.safetensors" for folder in runs)
    assert_same_weights(plain, averaged)
    assert {path.name for path in runs[0].iterdir()} == {"tiny.safetensors"}
    last = STEPS + 1
    names = {f"tiny-step{step:08d}{version}.safetensors" for step in range(1, last) for version in ("", "-ema")}
    assert {path.name for path in runs[1].iterdir()} == names | {
        "tiny.safetensors", "tiny-ema.safetensors", "tiny-ema-snapshots",
    }  # fmt: skip
    assert sorted(path.name for path in (runs[1] / "tiny-ema-snapshots").iterdir()) == [
        f"step{step:08d}-sigma{width}.safetensors" for step in (2, 4, 6) for width in ("0.05", "0.1")
    ]


def test_files_hold_the_exponential_average(runs):
    expected = weights(runs[1], "tiny-step00000001-ema")
    for step in range(2, STEPS + 1):
        share = min(DECAY, (1 + step) / (10 + step))
        trained = weights(runs[1], f"tiny-step{step:08d}")
        expected = {key: share * tensor + (1 - share) * trained[key] for key, tensor in expected.items()}
        saved = weights(runs[1], f"tiny-step{step:08d}-ema")
        assert saved.keys() == expected.keys()
        for key, tensor in saved.items():
            torch.testing.assert_close(tensor, expected[key], rtol=1e-5, atol=1e-7)
    assert_same_weights(runs[1] / "tiny-ema.safetensors", runs[1] / f"tiny-step{STEPS:08d}-ema.safetensors")
    moved = weights(runs[1], "tiny")
    assert max((moved[key] - tensor).abs().max() for key, tensor in expected.items()) > 1e-3


def test_metadata_of_averages(runs):
    raw, ema = (metadata_of(runs[1] / f"tiny{version}.safetensors") for version in ("", "-ema"))
    assert (ema.pop("ss_ema_decay"), ema.pop("ss_ema_updates")) == (str(DECAY), str(STEPS))
    assert raw.keys() == ema.keys()
    assert raw["sshs_model_hash"] != ema["sshs_model_hash"]
    assert raw["ss_steps"] == ema["ss_steps"] == str(STEPS)
    snapshot = metadata_of(runs[1] / "tiny-ema-snapshots" / "step00000004-sigma0.1.safetensors")
    assert (snapshot["ss_ema_step"], snapshot["ss_ema_updates"], snapshot["ss_ema_sigma_rel"]) == ("4", "4", "0.1")


def test_averages_synthesised_from_a_run(runs, capsys, tmp_path):
    """Directly accumulated here, over the weights after every step; these move by about 0.05."""
    width, exponent = 0.1, 6.938
    folder = runs[1] / "tiny-ema-snapshots"
    words = ["--output", tmp_path / "a.safetensors", "--plot", tmp_path / "a.png"]
    assert synthesize([str(word) for word in (folder, "--sigma_rel", "0.12", *words)]) == 0
    shown = capsys.readouterr().out
    assert "6 snapshots: 3 steps from 2 to 6, in 2 widths (0.05, 0.1)" in shown
    assert "a.safetensors: sigma_rel 0.12, error of its profile " in shown
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert metadata_of(tmp_path / "a.safetensors")["ss_ema_sigma_rel"] == "0.12"
    assert synthesize([str(folder), "--sigma_rel", str(width), "--step", "4"]) == 0
    synthesised = weights(runs[1], "tiny-ema-step00000004-sigma0.1")
    expected: dict[str, torch.Tensor] = {}
    for step in range(1, 5):
        share = (1 - 1 / step) ** (exponent + 1)
        trained = weights(runs[1], f"tiny-step{step:08d}")
        expected = {key: share * expected.get(key, 0) + (1 - share) * tensor for key, tensor in trained.items()}
    for key, tensor in synthesised.items():
        torch.testing.assert_close(tensor, expected[key], rtol=1e-4, atol=1e-6)


@pytest.fixture
def arguments(tiny_model, train_data_dir, tmp_path):
    return least_arguments(tiny_model, train_data_dir, tmp_path / "out")


def test_a_file_in_place_of_the_folder_of_snapshots(arguments, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tiny-ema-snapshots").touch()
    assert train(*as_words({**arguments, "--ema_snapshots_every_n_steps": "2"})) == 1
    assert "tiny-ema-snapshots', the folder for snapshots, is a file; move or remove it" in capsys.readouterr().err


def test_snapshots_of_an_earlier_run_are_in_the_way(arguments, tmp_path, capsys):
    folder = tmp_path / "out" / "tiny-ema-snapshots"
    folder.mkdir(parents=True)
    words = as_words({**arguments, "--ema_snapshots_every_n_steps": "2", "--ema_decay": "0.9"})
    (folder / "step00000001-sigma0.05.safetensors").touch()
    (tmp_path / "out" / "tiny-ema.safetensors").touch()
    assert train(*words) == 1
    shown = capsys.readouterr().err
    assert f"--ema_snapshots_every_n_steps: '{folder}' holds files of an earlier run" in shown
    assert "tiny-ema.safetensors' exists and will be replaced when training ends" in shown


def test_schedule_free_optimizers_save_their_own_average(arguments, capsys):
    """What is checked is the file against the network with these weights in it."""
    file = run(arguments, optimizer_type="AdamWScheduleFree", max_train_steps=2)
    shown = capsys.readouterr().err
    assert re.search(rf"checked {re.escape(str(file))}: \d+ layers compute what was trained", shown)
    assert "do not compute what was trained" not in shown


@pytest.mark.slow
def test_averages_of_half_precision_and_with_previews(arguments, tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cat --w 64 --h 64 --s 2", encoding="utf-8")
    options = {"ema_decay": 0.9, "mixed_precision": "bf16", "full_bf16": True, "sample_with_ema": True}
    file = run(arguments, sample_prompts=prompts, sample_every_n_steps=2, **options)
    shown = capsys.readouterr().err
    assert shown.count("INFO    checked ") == 2
    assert load_file(file.with_name("tiny-ema.safetensors")).keys() == load_file(file).keys()
    assert len(list((tmp_path / "out" / "sample").iterdir())) == 2
