"""What is said of the sizes of a new network's layers."""

import logging

import pytest

from library.errors import UserError
from networks.network.creation import NetworkModule
from networks.network.layer_network import LayerNetwork
from tests.networks.adapted_model import AdaptedModel


def create(module: str, rank: int, **arguments: str) -> LayerNetwork:
    text_encoder, unet = AdaptedModel().views()
    return NetworkModule(f"networks.{module}").create_network(1.0, rank, 0.0, None, text_encoder, unet, **arguments)


@pytest.mark.parametrize(
    ("module", "is_told"), [("lora", True), ("loha", True), ("dylora", True), ("lokr", False), ("ia3", False)]
)
def test_ranks_without_sense_are_told(caplog, module, is_told):
    """LoKr takes a large rank for: do not split the matrix."""
    with caplog.at_level(logging.WARNING, "networks.network.creation"):
        create(module, rank=500)
    assert [record.message.startswith("the rank 500 is larger") for record in caplog.records] == [True] * is_told


@pytest.mark.parametrize(
    ("module", "problem"), [("oft", "--network_dim 7: the outputs of"), ("boft", "--network_dim 1: ")]
)
def test_ranks_that_a_rotation_cannot_have_are_one_problem(module, problem):
    rank = int(problem.split()[1].rstrip(":"))
    with pytest.raises(UserError) as error:
        create(module, rank=rank, preset="attn-mlp")
    (told,) = error.value.problems
    assert told.startswith(problem)
    assert told.count("lora_") == 3
    fitting = {"oft": 2, "boft": 12}[module]
    assert create(module, rank=fitting, preset="attn-mlp").layers()


def test_norms_have_no_size_that_could_be_wrong(caplog):
    with caplog.at_level(logging.WARNING, "networks.network.creation"):
        assert create("boft", rank=12, train_norm="True", preset="full").layers()
    assert caplog.records == []
