"""The optimizer step, saving."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from library.errors import UserError
from library.metadata.model_hashes import ModelHashes, hash_model
from library.options.groups import SavingOptions
from library.training import model_setup
from library.training.objective import BatchLosses
from library.training.optimization import accumulation_windows
from library.training.save_schedule import SaveSchedule
from library.training.saving import NetworkSaver
from networks.files.weights_file import NonFiniteWeightsError
from tests.training.optimizer_steps import optimizer_step


def test_accumulation_windows():
    assert [list(window) for window in accumulation_windows(iter("abcde"), 2)] == [["a", "b"], ["c", "d"], ["e"]]
    assert list(accumulation_windows(iter(""), 2)) == []


class OneWeight(torch.nn.Module):
    """Loss of a batch = weight x batch value, so that the gradient is the batch's value."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.0))

    def get_trainable_params(self):
        return self.parameters()


@dataclass(frozen=True)
class FakeBatch:
    value: float
    index: int = 0
    network_multiplier: float = 1.0

    def to(self, device):
        return self


def losses_of(loss: torch.Tensor) -> BatchLosses:
    """Of a batch of one image."""
    return BatchLosses(loss.reshape(1), loss.detach().reshape(1), torch.zeros(1, dtype=torch.int64))


class FakeObjective:
    def __init__(self, network):
        self.network = network
        self.random_numbers = []

    def losses(self, model, batch):
        self.random_numbers.append(torch.rand(()).item())
        return losses_of(self.network.weight * batch.value)


def step_of(max_grad_norm=0.0):
    network = OneWeight()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    objective = FakeObjective(network)
    step = optimizer_step(network, objective, optimizer, schedule=schedule, max_grad_norm=max_grad_norm)
    return step, network, objective


@pytest.mark.parametrize(("values", "gradient"), [([3.0], 3.0), ([3.0, 5.0], 4.0), ([1.0, 2.0, 6.0], 3.0)])
def test_a_window_moves_the_network_by_its_mean_gradient(values, gradient):
    """Also where the window is the short one at the end of an epoch."""
    step, network, _ = step_of()
    result = step.run([FakeBatch(value) for value in values], 0)
    assert network.weight.item() == pytest.approx(1 - gradient)
    assert result.loss.item() == pytest.approx(gradient)
    assert result.learning_rates == (1.0,)
    assert network.weight.grad is None
    assert step.optimizer.param_groups[0]["lr"] == 0.5


def test_gradients_are_clipped_together():
    step, network, _ = step_of(max_grad_norm=0.5)
    step.run([FakeBatch(4.0)], 0)
    assert network.weight.item() == pytest.approx(0.5, abs=1e-5)


def test_what_happens_when_weights_have_moved(monkeypatch):
    """Averages of weights, say, take no notice of a step that was skipped."""
    network, seen = OneWeight(), []
    step = optimizer_step(
        network,
        FakeObjective(network),
        torch.optim.SGD(network.parameters(), lr=1.0),
        after_update=lambda: seen.append(network.weight.item()),
    )
    monkeypatch.setattr(type(step.accelerator), "optimizer_step_was_skipped", property(lambda self: skipped))
    for skipped in (False, True, False):  # noqa: B007 - the property reads it
        step.run([FakeBatch(2.0)], 0)
    assert seen == [-1.0, -5.0]


def test_the_norm_of_the_gradients_before_they_were_clipped():
    step, _, _ = step_of(max_grad_norm=0.5)
    result = step.run([FakeBatch(3.0), FakeBatch(5.0)], 0)
    assert result.gradient_norm.item() == pytest.approx(4.0)
    assert step_of()[0].run([FakeBatch(3.0)], 0).gradient_norm is None


def test_the_schedule_waits_when_a_step_was_skipped(monkeypatch):
    """fp16 skips the step when a gradient is not finite."""
    step, _, _ = step_of()
    monkeypatch.setattr(type(step.accelerator), "optimizer_step_was_skipped", property(lambda self: skipped))
    rates = []
    for skipped in (False, True, True, False, False):  # noqa: B007 - the property reads it
        rates += step.run([FakeBatch(1.0)], 0).learning_rates
    assert rates == [1.0, 0.5, 0.5, 0.5, 0.25]


def test_dropouts_are_seeded_by_the_batch_alone():
    step, _, objective = step_of()
    step.run([FakeBatch(0.0, index=7), FakeBatch(0.0, index=8)], 0)
    step.run([FakeBatch(0.0, index=8)], 0)
    first, second, again = objective.random_numbers
    assert second == again
    assert first != second


@dataclass
class FakeNetwork:
    saved: list = field(default_factory=list)
    error: Exception | None = None

    def named_parameters(self):
        return []

    def save_weights(self, file, dtype, metadata):
        if self.error:
            raise self.error
        # files are written beside their final place, as .NAME.….partial.EXTENSION
        name = file.rsplit("/", 1)[-1].removeprefix(".")
        self.saved.append((name.split(".safetensors.")[0] + ".safetensors", dtype, dict(metadata)))
        Path(file).write_bytes(b"weights")


def saver_of(folder, network, num_epochs=6, **options):
    metadata = SimpleNamespace(metadata=lambda step, epoch: {"step": str(step), "epoch": str(epoch)})
    schedule = SaveSchedule(SavingOptions(output_name="n", **options), num_epochs)
    return NetworkSaver(network, schedule, folder, metadata, check=lambda path: None)


def run_of(saver, epochs=6, steps_per_epoch=2):
    step = 0
    for epoch in range(epochs):
        for _ in range(steps_per_epoch):
            step += 1
            saver.after_step(step, epoch)
        saver.after_epoch(step, epoch + 1)
    saver.at_end(step, epochs)


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, ["n.safetensors"]),
        ({"save_every_n_epochs": 2}, ["n-000002.safetensors", "n-000004.safetensors", "n.safetensors"]),
        ({"save_every_n_epochs": 1, "save_last_n_epochs": 2}, ["n-000004", "n-000005", "n"]),
        ({"save_n_epoch_ratio": 2}, ["n-000003", "n"]),
        ({"save_n_epoch_ratio": 2, "save_every_n_epochs": 1}, ["n-000003", "n"]),
        ({"save_every_n_steps": 5}, ["n-step00000005", "n-step00000010", "n"]),
        ({"save_every_n_steps": 3, "save_last_n_steps": 4}, ["n-step00000009", "n-step00000012", "n"]),
        ({"save_model_as": "ckpt"}, ["n.ckpt"]),
    ],
)
def test_what_is_left_after_a_run(tmp_path, options, left):
    run_of(saver_of(tmp_path, FakeNetwork(), **options))
    expected = [name if "." in name else f"{name}.safetensors" for name in left]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(expected)


@pytest.mark.parametrize(
    ("precision", "dtype"), [(None, None), ("float", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)]
)
def test_precision_and_counters_of_saves(tmp_path, precision, dtype):
    network = FakeNetwork()
    run_of(saver_of(tmp_path, network, save_precision=precision, save_every_n_steps=7, save_every_n_epochs=3))
    assert network.saved == [
        ("n-000003.safetensors", dtype, {"step": "6", "epoch": "3"}),
        ("n-step00000007.safetensors", dtype, {"step": "7", "epoch": "3"}),
        ("n.safetensors", dtype, {"step": "12", "epoch": "6"}),
    ]


FULL_DISK = OSError(28, "No space left on device")


def test_a_full_disk_in_between_does_not_end_the_training(tmp_path, caplog):
    network = FakeNetwork()
    saver = saver_of(tmp_path, network, save_every_n_steps=1, save_last_n_steps=1)
    for step in range(1, 7):
        network.error = FULL_DISK if step in (3, 4) else None
        saver.after_step(step, 0)
    assert caplog.text.count("No space left on device; free space. Training goes on") == 2
    # a save that failed removes nothing
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == [f"n-step{step:08d}.safetensors" for step in (1, 2, 5, 6)]


def test_the_final_file_is_rescued_when_its_place_is_full(tmp_path, monkeypatch):
    class FullFolder(FakeNetwork):
        def save_weights(self, file, dtype, metadata):
            if "out" in file:
                raise FULL_DISK
            super().save_weights(file, dtype, metadata)

    (tmp_path / "out").mkdir()
    (tmp_path / "rescue").mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "rescue"))
    with pytest.raises(UserError, match=r"out/n\.safetensors' cannot be saved: No space.*it is in '.*rescue/n\."):
        saver_of(tmp_path / "out", FullFolder()).at_end(1, 1)
    assert (tmp_path / "rescue" / "n.safetensors").exists()


def test_nothing_can_be_saved_anywhere(tmp_path):
    with pytest.raises(UserError, match="No space left on device; these weights are lost"):
        saver_of(tmp_path, FakeNetwork(error=FULL_DISK)).at_end(1, 1)


def test_weights_that_are_not_finite_end_the_training(tmp_path):
    with pytest.raises(UserError, match="was not saved, since x is NaN: training has diverged"):
        saver_of(tmp_path, FakeNetwork(error=NonFiniteWeightsError("x is NaN")), save_every_n_steps=1).after_step(1, 0)


def test_an_old_file_that_cannot_be_removed_does_not_end_the_training(tmp_path, monkeypatch, caplog):
    """Windows lets nobody remove a file that a program has open."""

    def refuse(path, missing_ok=False):
        raise PermissionError(13, "in use")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    run_of(saver_of(tmp_path, FakeNetwork(), save_every_n_epochs=1, save_last_n_epochs=1))
    assert len(list(tmp_path.iterdir())) == 6
    for epoch in (1, 2, 3, 4):
        assert f"n-00000{epoch}.safetensors' cannot be removed: in use" in caplog.text


def test_metadata_that_cannot_be_made_do_not_cost_the_network(tmp_path, caplog):
    network = FakeNetwork()
    saver = saver_of(tmp_path, network)
    saver.metadata.metadata = lambda step, epoch: 1 / 0
    assert saver.at_end(1, 1).exists()
    assert network.saved == [("n.safetensors", None, {})]
    assert "saved without them" in caplog.text


def test_a_model_that_cannot_be_read_any_more_costs_its_hash_only(tmp_path, monkeypatch):
    def fail(*arguments, **keywords):
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr("builtins.open", fail)
    assert hash_model(tmp_path / "model.safetensors") == ModelHashes("NOFILE", "NOFILE")
    assert hash_model(tmp_path) == ModelHashes("IsADirectory", "IsADirectory")


class RefusingModel:
    """Fails as xformers does when it has no kernel for this machine."""

    def use_xformers(self):
        raise NotImplementedError("No operator found for this attention\n  with details")


def test_xformers_that_does_not_work():
    with pytest.raises(UserError, match=r"--xformers cannot be used: No operator found for this attention\. Leave"):
        model_setup._use_xformers(RefusingModel())
