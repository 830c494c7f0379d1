"""The command that makes averages from snapshots; what it computes is tested in tests/averaging."""

import pytest
import torch
from safetensors import safe_open

from networks.files.weights_file import network_hashes
from tests.averaging.test_synthesis import STEPS, name_of, write_run
from tools.synthesize_ema import main


@pytest.fixture
def folder(tmp_path):
    write_run(tmp_path / "dog-ema-snapshots", dtype=torch.float16)
    return tmp_path / "dog-ema-snapshots"


def synthesize(*words) -> int:
    return main([str(word) for word in words])


def test_files_and_what_is_told(folder, tmp_path, capsys):
    assert synthesize(folder, "--sigma_rel", "0.07", "0.2", "--plot", tmp_path / "profiles.png") == 0
    told = capsys.readouterr()
    assert "dog-ema-snapshots: 16 snapshots: 8 steps from 5 to 40, in 2 widths (0.05, 0.1)" in told.out
    assert "dog-ema-sigma0.07.safetensors: sigma_rel 0.07, error of its profile 1.3" in told.out
    assert "dog-ema-sigma0.2.safetensors: sigma_rel 0.2, error of its profile 7." in told.out
    assert told.out.count("Warning: that is another average than was asked for") == 1
    assert "snapshots of 8 steps are too few for sigma_rel 0.2; train with --ema_snapshots_every_n_steps 3" in told.out
    assert told.err == ""
    assert {path.name for path in tmp_path.iterdir()} == {
        "dog-ema-snapshots", "dog-ema-sigma0.07.safetensors", "dog-ema-sigma0.2.safetensors", "profiles.png",
    }  # fmt: skip
    with safe_open(tmp_path / "dog-ema-sigma0.2.safetensors", "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    assert tensors["x.lora_up.weight"].dtype == torch.float16
    fields = {name: text for name, text in metadata.items() if not name.startswith("sshs_")}
    assert metadata == fields | network_hashes(tensors, fields)
    assert metadata["ss_network_module"] == "networks.lora"


def test_step_precision_and_name(folder, tmp_path, capsys):
    words = ["--sigma_rel", "0.1", "--step", "20", "--save_precision", "float"]
    assert synthesize(folder, *words, "--output", tmp_path / "mine.safetensors") == 0
    assert synthesize(folder, *words) == 0
    assert (tmp_path / "dog-ema-step00000020-sigma0.1.safetensors").exists()
    with safe_open(tmp_path / "mine.safetensors", "pt") as file:
        assert file.get_tensor("x.lora_up.weight").dtype == torch.float32


def test_a_run_too_short_for_a_wide_average(tmp_path, capsys):
    write_run(tmp_path / "dog-ema-snapshots", steps=6, every=2)
    assert synthesize(tmp_path / "dog-ema-snapshots", "--sigma_rel", "0.2") == 0
    told = capsys.readouterr().out
    assert "even snapshots of 6 steps would be too few for sigma_rel 0.2; choose a sigma_rel nearer to 0.05 or" in told


def test_narrow_averages_are_warned_of(folder, capsys):
    assert synthesize(folder, "--sigma_rel", "0.02") == 0
    told = capsys.readouterr().out
    assert "Warning: that is another average than was asked for: snapshots of 8 steps are too few for sigma" in told
    assert "Warning: the rounding of the snapshots may be 8 times as large in it" in told


def test_missing_snapshots_may_be_done_without(folder, tmp_path, capsys):
    name_of(folder, 20, 0.05).unlink()
    assert synthesize(folder, "--sigma_rel", "0.1") == 1
    assert "lacks 1 snapshot: sigma_rel 0.05 of step 20; with --allow_missing" in capsys.readouterr().err
    assert synthesize(folder, "--sigma_rel", "0.1", "--allow_missing") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--sigma_rel is missing: how wide the average is to be, as a share of the training; --sigma_rel 0.1 ("),
        (["--sigma_rel", "0.3"], "--sigma_rel 0.3: a relative width of 0.3 is impossible; it must be above 0"),
        (["--sigma_rel", "0", "0.1", "0.1"], "2. --sigma_rel 0.1 is given 2 times"),
        (["--sigma_rel", "0.1", "0.2", "--output", "{folder}/a.safetensors"], "one file cannot hold 2 averages"),
        (["--sigma_rel", "0.1", "--output", "{folder}/a.pt"], "the file must end in .safetensors"),
        (["--sigma_rel", "0.1", "--output", "{folder}/no/a.safetensors"], "there is no folder"),
        (["--sigma_rel", "0.1", "--output", "{there}"], "exists already; name another one with --output"),
        (["--sigma_rel", "0.1", "--step", str(STEPS + 1)], "--step 41: there is no snapshot of it"),
    ],
)
def test_what_is_refused(words, message, folder, tmp_path, capsys):
    there = name_of(folder, 5, 0.05)
    before = sorted(tmp_path.rglob("*")), there.read_bytes()
    assert synthesize(folder, *(word.format(folder=tmp_path, there=there) for word in words)) == 1
    assert message in capsys.readouterr().err
    assert (sorted(tmp_path.rglob("*")), there.read_bytes()) == before


def test_no_folder(tmp_path, capsys):
    assert synthesize(tmp_path / "none", "--sigma_rel", "0.1") == 1
    assert "holds no snapshots" in capsys.readouterr().err


def test_a_picture_that_cannot_be_drawn(folder, tmp_path, capsys):
    assert synthesize(folder, "--sigma_rel", "0.1", "--plot", tmp_path / "no" / "a.png") == 1
    assert "Error: --plot '" in capsys.readouterr().err
