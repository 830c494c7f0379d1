"""network_multiplier: the strength that a network works with on a dataset's images."""

import pytest
import torch

from library.dataset.records import Dataset
from library.errors import UserError
from library.options.dataset_settings import DatasetSettings, SubsetSettings
from library.training.network_strength import require_strengths, working_at
from tests.training.optimizer_steps import optimizer_step
from tests.training.test_parts import FakeBatch, OneWeight, losses_of


class ScaledWeight(OneWeight):
    """Loss of a batch = strength x weight x batch value."""

    def __init__(self):
        super().__init__()
        self.strength = 1.0

    def set_multiplier(self, strength: float) -> None:
        self.strength = strength


class ScaledObjective:
    def __init__(self, network):
        self.network = network
        self.strengths = []

    def losses(self, model, batch):
        network = self.network
        network.weight.register_hook(lambda gradient: self.strengths.append(network.strength))
        return losses_of(network.strength * network.weight * batch.value)


def run(*batches: FakeBatch):
    network = ScaledWeight()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    objective = ScaledObjective(network)
    optimizer_step(network, objective, optimizer).run(batches, 0)
    return network, objective


def test_each_batch_is_computed_with_the_strength_of_its_dataset():
    network, _ = run(FakeBatch(2.0, network_multiplier=0.5), FakeBatch(4.0))
    assert network.weight.item() == pytest.approx(1 - (0.5 * 2.0 + 4.0) / 2)


def test_the_strength_lasts_through_the_backward_pass_and_no_longer():
    network, objective = run(FakeBatch(2.0, network_multiplier=0.25))
    assert objective.strengths == [0.25]
    assert network.strength == 1.0


def test_the_strength_is_restored_after_an_error():
    network = ScaledWeight()
    with pytest.raises(RuntimeError), working_at(0.3, network):
        assert network.strength == 0.3
        raise RuntimeError
    assert network.strength == 1.0


def datasets(*strengths: float) -> list[Dataset]:
    return [Dataset(DatasetSettings(network_multiplier=strength), ()) for strength in strengths]


def test_a_network_with_one_strength_is_refused_where_it_needs_others():
    with pytest.raises(UserError, match=r"network_multiplier 0\.3: .*custom\.network have one strength only"):
        require_strengths(OneWeight(), "custom.network", datasets(1.0, 0.3))


def test_a_network_with_one_strength_is_fine_otherwise():
    require_strengths(OneWeight(), "custom.network", datasets(1.0))
    require_strengths(ScaledWeight(), "custom.network", datasets(0.3))
    with working_at(1.0, OneWeight()):
        pass


def test_a_network_with_one_strength_cannot_be_left_out():
    """diff_output_preservation compares with what the model says without it."""
    subset = SubsetSettings(custom_attributes={"diff_output_preservation": True})
    preserving = [Dataset(DatasetSettings(subsets=(SubsetSettings(), subset)), ())]
    with pytest.raises(UserError) as raised:
        require_strengths(OneWeight(), "custom.network", [*preserving, *datasets(0.3)])
    assert raised.value.problems == (
        "network_multiplier 0.3: networks of --network_module custom.network have one strength only (they lack "
        "set_multiplier); leave network_multiplier out",
        "custom_attributes: diff_output_preservation needs what the model says without the network, but networks of "
        "--network_module custom.network have one strength only (they lack set_multiplier); leave "
        "diff_output_preservation out",
    )
    require_strengths(ScaledWeight(), "custom.network", preserving)
