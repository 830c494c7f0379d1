"""Network files that are damaged, dangerous or something else, and the hashes by which others know them."""

import hashlib

import pytest
import safetensors.torch
import torch

from library.errors import UserError
from networks.files.weights_file import network_hashes, read_network_file


def hashes_of_file(content: bytes) -> str:
    header = int.from_bytes(content[:8], "little")
    return hashlib.sha256(content[8 + header :]).hexdigest()


def test_what_the_hashes_depend_on():
    """On the weights; the older one on the ss_ fields too, since it covers a part of the file."""
    tensors = {"a.lora_up.weight": torch.arange(600_000, dtype=torch.float32), "a.alpha": torch.tensor(1.0)}
    fields = {"ss_x": "1" * 100}
    plain = safetensors.torch.save(tensors, fields)
    assert len(plain) > 0x110000
    first = network_hashes(tensors, {**fields, "modelspec.title": "t", "sshs_model_hash": "old"})
    assert first["sshs_legacy_hash"] == hashlib.sha256(plain[0x100000:0x110000]).hexdigest()[:8]
    assert first["sshs_model_hash"] == hashes_of_file(plain)
    assert network_hashes(tensors, fields) == first
    more_fields = network_hashes(tensors, {**fields, "ss_y": "2"})
    assert more_fields["sshs_model_hash"] == first["sshs_model_hash"]
    assert more_fields["sshs_legacy_hash"] != first["sshs_legacy_hash"]
    other_weights = {**tensors, "a.alpha": torch.tensor(2.0)}
    assert network_hashes(other_weights, fields)["sshs_model_hash"] != first["sshs_model_hash"]


class Harmful:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (self.marker.mkdir, ())


@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt", "x.pt"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>" * 9, None], ids=["empty", "text", "missing"])
def test_files_that_are_no_networks(tmp_path, name, content):
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=f"network file '.*{name}' cannot be read: "):
        read_network_file(file)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0.1, 0.6, 0.98])
def test_files_that_are_cut_short(tmp_path, zipped, part):
    file = tmp_path / "x.pt"
    state = {f"lora_unet_layer_{number}.lora_up.weight": torch.ones(32, 3) for number in range(36)}
    torch.save(state, file, _use_new_zipfile_serialization=zipped)
    assert len(read_network_file(file)) == 36
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(UserError, match=r"x\.pt' cannot be read"):
        read_network_file(file)


@pytest.mark.parametrize("zipped", [True, False])
def test_network_files_run_nothing(tmp_path, zipped):
    marker = tmp_path / "marker"
    file = tmp_path / "x.pt"
    content = {"lora_unet_x.alpha": torch.ones(()), "bad": Harmful(marker)}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="it is damaged, or holds more than tensors"):
        read_network_file(file)
    assert not marker.exists()
    torch.load(file, weights_only=False)
    assert marker.exists(), "the attack would not work"


@pytest.mark.parametrize("content", [torch.ones(2), [torch.ones(1)], {"state_dict": {"a": 1}}], ids=str)
def test_files_without_named_tensors(tmp_path, content):
    file = tmp_path / "x.pt"
    torch.save(content, file)
    with pytest.raises(UserError, match="it does not hold named tensors"):
        read_network_file(file)


def test_weights_below_an_entry_of_their_own(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(1)}, "epoch": 3}, tmp_path / "x.ckpt")
    assert read_network_file(tmp_path / "x.ckpt") == {"a": torch.ones(1)}


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("extension", ["pt", "safetensors"])
def test_floats_of_eight_bits_become_numbers_to_compute_with(tmp_path, dtype, extension):
    every = torch.arange(256, dtype=torch.uint8).view(dtype)
    write_network_file_of = torch.save if extension == "pt" else safetensors.torch.save_file
    write_network_file_of({"a": every}, tmp_path / f"x.{extension}")
    read = read_network_file(tmp_path / f"x.{extension}")["a"]
    assert read.dtype == torch.float16
    torch.testing.assert_close(read.float(), every.float(), rtol=0, atol=0, equal_nan=True)
