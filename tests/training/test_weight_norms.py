"""--scale_weight_norms: limits the weight changes after each optimizer step, and reports their norms."""

import importlib

import pytest
import torch
from safetensors.torch import load_file

from library.errors import UserError
from library.training.weight_norms import WeightNorms, require_norm_limit
from networks.arguments import MODULES
from tests.models.tiny import tiny_adapter
from tests.training.command import least_arguments
from tests.training.every_kind import every_kind
from tests.training.optimizer_steps import optimizer_step
from tests.training.running import logged, run
from tests.training.test_parts import FakeBatch, FakeObjective, OneWeight

LIMIT = 0.05


@pytest.fixture
def arguments(tiny_model, train_data_dir, tmp_path):
    return {**least_arguments(tiny_model, train_data_dir, tmp_path / "out"), "--cache_latents": None}


def norms_in(file, module) -> torch.Tensor:
    """Of every layer's change, computed by a network made from the file."""
    views = tiny_adapter().views()
    network, _ = importlib.import_module(module).create_network_from_weights(
        1.0, str(file), None, views.text_encoders_as_kohya(), views.unet
    )
    with torch.no_grad():
        return torch.stack([layer.delta_norm() for layer in network.layers()])


@pytest.mark.parametrize("module", every_kind(sorted(MODULES)))
def test_no_change_becomes_larger_than_the_limit(arguments, tmp_path, module):
    arguments |= {"--network_module": module, "--max_train_steps": "3", "--learning_rate": "0.03"}
    free = run(arguments, output_dir=tmp_path / "free")
    limited = run(
        arguments, output_dir=tmp_path / "limited", scale_weight_norms=LIMIT, logging_dir=tmp_path / "limited"
    )
    assert norms_in(free, module).max() > 2 * LIMIT
    norms = norms_in(limited, module)
    assert len(norms) > 50
    assert norms.max() <= LIMIT * (1 + 1e-4)
    scaled, means, largest = (
        logged(tmp_path / "limited", name)
        for name in ("max_norm/keys_scaled", "norm/avg_key_norm", "max_norm/max_key_norm")
    )
    assert len(scaled) == 3
    assert 0 < scaled[-1] <= len(norms)
    assert largest[-1] == pytest.approx(LIMIT, rel=1e-3)
    assert means[-1] == pytest.approx(norms.mean().item(), rel=1e-3)


def test_a_limit_that_nothing_reaches_changes_nothing(arguments, tmp_path):
    free, limited = run(arguments), run(arguments, output_dir=tmp_path / "limited", scale_weight_norms=1e6)
    weights, others = load_file(free), load_file(limited)
    assert all(torch.equal(tensor, others[name]) for name, tensor in weights.items())


def test_the_progress_bar_shows_what_was_scaled(arguments, tmp_path, capfd):
    run(arguments | {"--max_train_steps": "2"}, output_dir=tmp_path / "limited", scale_weight_norms=LIMIT)
    assert "keys_scaled=" in capfd.readouterr().err
    run(arguments | {"--max_train_steps": "2"}, output_dir=tmp_path / "free")
    shown = capfd.readouterr().err
    assert "avr_loss=" in shown
    assert "keys_scaled=" not in shown


class LimitedWeight(OneWeight):
    """Reports numbers, as networks of others do."""

    def __init__(self):
        super().__init__()
        self.limits = []

    def apply_max_norm_regularization(self, limit, device):
        self.limits.append((limit, device.type))
        return 1, 0.5, float(len(self.limits))


def step_with_limit(limit):
    network = LimitedWeight()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    return network, optimizer_step(network, FakeObjective(network), optimizer, max_weight_norm=limit)


def test_once_for_each_step_that_was_taken(monkeypatch):
    """Not for each batch of a step, nor for those that fp16 skips."""
    network, step = step_with_limit(2.0)
    monkeypatch.setattr(type(step.accelerator), "optimizer_step_was_skipped", property(lambda self: skipped))
    reports = []
    for skipped in (False, True, False):  # noqa: B007 - the property reads it
        reports.append(step.run([FakeBatch(1.0), FakeBatch(2.0)], 0).norms)
    assert reports == [WeightNorms(1, 0.5, 1.0), None, WeightNorms(1, 0.5, 2.0)]
    assert network.limits == [(2.0, step.accelerator.device.type)] * 2


def test_without_the_option_networks_are_not_asked():
    network, step = step_with_limit(None)
    assert step.run([FakeBatch(1.0)], 0).norms is None
    assert network.limits == []


def test_networks_that_cannot_limit_their_norms():
    require_norm_limit(LimitedWeight(), "mine")
    with pytest.raises(UserError, match="networks of --network_module mine cannot limit"):
        require_norm_limit(OneWeight(), "mine")
