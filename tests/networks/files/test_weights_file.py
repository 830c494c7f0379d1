"""The metadata of network files."""

import pytest
import torch

from library.errors import UserError
from networks.files.weights_file import read_network_metadata, write_network_file

TENSORS = {"lora_unet_conv_in.alpha": torch.tensor(1.0)}


def test_metadata_of_safetensors(tmp_path):
    file = tmp_path / "cat.safetensors"
    write_network_file(file, TENSORS, None, {"ss_network_dim": "4"})
    metadata = read_network_metadata(file)
    assert metadata.pop("ss_network_dim") == "4"
    assert metadata.keys() == {"sshs_model_hash", "sshs_legacy_hash"}


@pytest.mark.parametrize("name", ["cat.pt", "cat.ckpt"])
def test_pickled_files_have_none(name, tmp_path):
    write_network_file(tmp_path / name, TENSORS, None, {"ss_network_dim": "4"})
    assert read_network_metadata(tmp_path / name) == {}


@pytest.mark.parametrize("content", [None, b"", b"nonsense" * 10])
def test_missing_and_damaged_files(content, tmp_path):
    file = tmp_path / "cat.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"cat\.safetensors' cannot be read"):
        read_network_metadata(file)
