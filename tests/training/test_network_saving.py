"""Files of networks of others."""

from pathlib import Path

import pytest
import torch

from library.training.network_saving import save_network
from networks.files.weights_file import NonFiniteWeightsError
from tests.networks.third_party import THIRD_PARTY, build


def test_files_of_others_are_complete_or_not_there(tmp_path):
    network = build(THIRD_PARTY).network
    seen = []

    def fail(file, dtype, metadata):
        seen.append(file)
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    network.save_weights = fail
    target = tmp_path / "x.safetensors"
    target.write_bytes(b"what was there before")
    with pytest.raises(OSError, match="No space left"):
        save_network(network, target, None, {})
    assert seen[0].endswith(".safetensors")
    assert seen[0] != str(target)
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]
    assert target.read_bytes() == b"what was there before"


def test_a_save_that_wrote_elsewhere_leaves_no_empty_file(tmp_path):
    network = build(THIRD_PARTY).network
    network.save_weights = lambda file, dtype, metadata: None
    with pytest.raises(OSError, match="wrote nothing into the file"):
        save_network(network, tmp_path / "x.pt", None, {})
    assert list(tmp_path.iterdir()) == []


def test_metadata_are_a_copy(tmp_path):
    network, given = build(THIRD_PARTY).network, {"ss_x": "1"}

    def save(file, dtype, metadata):
        metadata["sshs_model_hash"] = "0"
        Path(file).write_bytes(b"x")

    network.save_weights = save
    save_network(network, tmp_path / "x.pt", None, given)
    assert given == {"ss_x": "1"}
    assert (tmp_path / "x.pt").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("value", "dtype"), [(float("nan"), None), (float("inf"), torch.bfloat16), (70000.0, torch.float16)]
)
def test_weights_that_are_not_finite_are_refused(tmp_path, value, dtype):
    network = build(THIRD_PARTY).network
    with torch.no_grad():
        network.value.fill_(value)
    with pytest.raises(NonFiniteWeightsError, match="in 1 of 1 tensor, such as value"):
        save_network(network, tmp_path / "x.pt", dtype, {})
    assert list(tmp_path.iterdir()) == []
