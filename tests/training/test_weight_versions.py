"""Versions of the weights: what of a network is averaged, and what becomes of the files of each version."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from library.errors import UserError
from library.options.groups import AveragingOptions, SavingOptions
from library.training.save_schedule import SaveSchedule
from library.training.saving import NetworkSaver
from library.training.snapshot_saving import SnapshotSaver
from library.training.weight_versions import WeightAverages, WeightVersion
from networks.files.weights_file import write_network_file
from tests.training.running import metadata_of

FULL_DISK = OSError(28, "No space left on device")
BOTH = AveragingOptions(ema_decay=0.5, ema_snapshots_every_n_steps=2)


class Network(nn.Module):
    """Third-party in spirit: a trained, a frozen and a buffered tensor."""

    def __init__(self, fails_for: str = "nothing"):
        super().__init__()
        self.trained = nn.Parameter(torch.zeros(2))
        self.frozen = nn.Parameter(torch.zeros(2), requires_grad=False)
        self.register_buffer("alpha", torch.zeros(()))
        self.fails_for = fails_for

    def train_to(self, value: float, averages: WeightAverages) -> None:
        for tensor in self.state_dict().values():
            tensor.fill_(value)
        averages.after_step()

    def save_weights(self, file, dtype, metadata):
        if self.fails_for in file:
            Path(file).write_bytes(b"half")
            raise FULL_DISK
        write_network_file(file, self.state_dict(), dtype, metadata)


def saver_of(folder, network, averages, **options) -> NetworkSaver:
    every = options.pop("snapshots", None)
    folder.mkdir(exist_ok=True)
    return NetworkSaver(
        network,
        SaveSchedule(SavingOptions(output_name="n", **options), num_epochs=6),
        folder,
        SimpleNamespace(metadata=lambda step, epoch: {"ss_steps": str(step)}),
        check=lambda path: None,
        versions=[WeightVersion("", lambda: nothing()), averages.ema],
        snapshots=every and SnapshotSaver(network, averages.snapshots, every, folder / "snapshots", torch.float16),
    )


@contextmanager
def nothing():
    yield


def names_in(folder) -> list[str]:
    return sorted(path.name.removesuffix(".safetensors") for path in folder.rglob("*") if path.is_file())


def test_what_is_trained_is_averaged_and_nothing_else():
    network = Network()
    averages = WeightAverages(network, AveragingOptions(ema_decay=0.1))
    network.train_to(1.0, averages)
    with averages.ema.applied():
        assert network.trained.tolist() == pytest.approx([0.9, 0.9])
        assert (network.frozen.tolist(), network.alpha.item()) == ([1.0, 1.0], 1.0)
    assert network.trained.tolist() == [1.0, 1.0]
    assert averages.ema.metadata() == {"ss_ema_decay": "0.1", "ss_ema_updates": "1"}


def test_without_options_nothing_is_kept():
    averages = WeightAverages(Network(), AveragingOptions())
    averages.after_step()
    assert averages.ema is None
    assert averages.snapshots(1) == []


def test_states_go_on_exactly_and_as_the_same_run():
    network = Network()
    averages = WeightAverages(network, BOTH)
    for value in (1.0, 0.3):
        network.train_to(value, averages)
    state = averages.state_dict()
    network.train_to(0.7, averages)
    other_network = Network()
    others = WeightAverages(other_network, BOTH)
    assert others.snapshots(2)[0].metadata()["ss_ema_run"] != averages.snapshots(2)[0].metadata()["ss_ema_run"]
    others.load_state_dict(state)
    other_network.train_to(0.7, others)
    for one, other in zip(averages.snapshots(3), others.snapshots(3), strict=True):
        assert (one.suffix, one.metadata()) == (other.suffix, other.metadata())
        with one.applied(), other.applied():
            assert torch.equal(network.trained, other_network.trained)


def test_each_save_has_both_files_and_removes_both(tmp_path):
    network = Network()
    averages = WeightAverages(network, BOTH)
    saver = saver_of(tmp_path / "out", network, averages, save_every_n_steps=1, save_last_n_steps=1, snapshots=2)
    for step in range(1, 6):
        network.train_to(float(step), averages)
        saver.after_step(step, 0)
    saver.at_end(5, 1)
    assert names_in(tmp_path / "out") == [
        "n", "n-ema", "n-step00000004", "n-step00000004-ema", "n-step00000005", "n-step00000005-ema",
        *(f"step{step:08d}-sigma{width}" for step in (2, 4, 5) for width in ("0.05", "0.1")),
    ]  # fmt: skip
    raw, ema = (load_file(tmp_path / "out" / f"{name}.safetensors") for name in ("n", "n-ema"))
    assert raw["trained"].tolist() == [5.0, 5.0]
    assert 3.0 < ema["trained"][0] < 4.5
    snapshot = tmp_path / "out" / "snapshots" / "step00000005-sigma0.1.safetensors"
    assert load_file(snapshot)["trained"].dtype == torch.float16
    assert metadata_of(snapshot)["ss_steps"] == metadata_of(snapshot)["ss_ema_step"] == "5"


def test_the_last_files_of_other_forms(tmp_path):
    network = Network()
    averages = WeightAverages(network, BOTH)
    saver_of(tmp_path, network, averages, save_model_as="pt", snapshots=3).at_end(1, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n-ema.pt", "n.pt", "snapshots"]
    assert all(path.suffix == ".safetensors" for path in (tmp_path / "snapshots").iterdir())


def test_an_average_that_cannot_be_saved_costs_only_itself(tmp_path, caplog):
    network = Network(fails_for="-ema")
    averages = WeightAverages(network, BOTH)
    saver = saver_of(tmp_path, network, averages, save_every_n_steps=1, save_last_n_steps=1)
    for step in (1, 2, 3):
        network.train_to(float(step), averages)
        saver.after_step(step, 0)
    assert names_in(tmp_path) == ["n-step00000002", "n-step00000003"]
    assert (
        caplog.text.count("-ema.safetensors' cannot be saved: No space left on device; free space. Training goes") == 3
    )
    assert network.trained.tolist() == [3.0, 3.0]


def test_the_last_average_is_rescued_like_the_last_file(tmp_path, caplog, monkeypatch):
    (tmp_path / "rescue").mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "rescue"))
    network = Network(fails_for="/out/.n-ema")
    averages = WeightAverages(network, BOTH)
    assert saver_of(tmp_path / "out", network, averages).at_end(1, 1).name == "n.safetensors"
    assert (names_in(tmp_path / "out"), names_in(tmp_path / "rescue")) == (["n"], ["n-ema"])
    assert "n-ema.safetensors' cannot be saved: No space left on device; it is in '" in caplog.text


def test_the_average_is_saved_also_where_the_main_file_cannot_be(tmp_path):
    network = Network(fails_for=".n.safetensors")
    averages = WeightAverages(network, BOTH)
    with pytest.raises(UserError, match="these weights are lost"):
        saver_of(tmp_path / "out", network, averages, snapshots=2).at_end(1, 1)
    assert names_in(tmp_path / "out") == ["n-ema", "step00000001-sigma0.05", "step00000001-sigma0.1"]


def test_an_average_that_is_not_finite_does_not_end_the_training(tmp_path, caplog):
    network = Network()
    averages = WeightAverages(network, BOTH)
    network.train_to(float("nan"), averages)
    for tensor in network.state_dict().values():
        tensor.fill_(1.0)
    saver = saver_of(tmp_path, network, averages, save_every_n_steps=1, snapshots=1)
    saver.after_step(1, 0)
    assert names_in(tmp_path) == ["n-step00000001"]
    assert "n-step00000001-ema.safetensors' was not saved, since there is NaN" in caplog.text
    assert "the snapshots of step 1 cannot be saved in" in caplog.text


def test_no_memory_for_exchanging_weights(tmp_path, caplog):
    @contextmanager
    def fail():
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    network = Network()
    saver = saver_of(tmp_path, network, WeightAverages(network, BOTH), save_every_n_steps=1)
    saver = replace(saver, versions=[saver.versions[0], WeightVersion("-ema", fail)])
    saver.after_step(1, 0)
    assert names_in(tmp_path) == ["n-step00000001"]
    assert "cannot be saved: there is no memory for exchanging the weights" in caplog.text
    full = replace(saver, versions=[WeightVersion("", fail)])
    full._check(tmp_path / "n", full.versions[0])
    assert "n' is not checked: there is no memory" in caplog.text


def test_files_are_checked_with_their_own_weights_in_the_network(tmp_path):
    network, seen = Network(), []
    averages = WeightAverages(network, BOTH)
    network.train_to(1.0, averages)
    saver = replace(
        saver_of(tmp_path, network, averages), check=lambda path: seen.append((path.name, network.trained[0].item()))
    )
    saver.at_end(1, 1)
    assert [name for name, _ in seen] == ["n-ema.safetensors", "n.safetensors"]
    assert [value for _, value in seen] == pytest.approx([1 - 2 / 11, 1.0])
    assert load_file(tmp_path / "n-ema.safetensors")["trained"][0].item() == seen[0][1]
