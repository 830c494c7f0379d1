"""Of which kinds of networks files can be averaged instead of weights."""

import pytest
import torch

from tests.networks.adapted_model import AdaptedModel
from tests.networks.network_cases import CASES

INEXACT = frozenset({
    "lora, scalar", "dora, tucker and scalar", "loha, scalar", "lokr, scalar", "oft, constrained",
    "boft, constrained and rescaled",
})  # fmt: skip
"""Files hold products of what is trained, or rotations within a limit; docs/averaging.md says so."""


@pytest.mark.parametrize("name", CASES)
def test_average_of_files(name):
    """The file of averaged weights against the average of the files of the weights."""
    network = AdaptedModel().apply(CASES[name], change=0.3)
    first = network.file_tensors()
    first = {key: tensor.double().clone() for key, tensor in first.items()}
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    places = [parameter.detach().clone() for parameter in parameters]
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.3 * torch.randn_like(parameter))
        second = {key: tensor.double().clone() for key, tensor in network.file_tensors().items()}
        for parameter, place in zip(parameters, places, strict=True):
            parameter.lerp_(place, 0.25)
    expected = {key: 0.25 * tensor + 0.75 * second[key] for key, tensor in first.items()}
    averaged = network.file_tensors()
    assert averaged.keys() == expected.keys()
    off = max((averaged[key].double() - tensor).abs().max().item() for key, tensor in expected.items())
    assert max((second[key] - tensor).abs().max().item() for key, tensor in first.items()) > 0.05
    assert (off > 1e-3) == (name in INEXACT), off
    assert name in INEXACT or off < 1e-5


def test_all_are_cases():
    assert CASES.keys() > INEXACT
