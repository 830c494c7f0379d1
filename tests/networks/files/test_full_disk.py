"""A disk that is full while a network is saved."""

import errno

import pytest
import safetensors.torch
import torch

from networks.files.weights_file import write_network_file


def fail_as_safetensors(tensors, path, metadata):
    path.write_bytes(b"half a file")
    raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")


def fail_as_torch(tensors, file):
    """What it raises itself says nothing."""
    file.write(b"half a file")
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError:
        raise RuntimeError("unexpected pos 576 vs 534")  # noqa: B904 - as torch has it


@pytest.mark.parametrize(
    ("extension", "module", "function", "fail"),
    [("safetensors", safetensors.torch, "save_file", fail_as_safetensors), ("ckpt", torch, "save", fail_as_torch)],
)
def test_the_old_file_stays_and_the_error_says_why(tmp_path, monkeypatch, extension, module, function, fail):
    file = tmp_path / f"network.{extension}"
    write_network_file(file, {"a.alpha": torch.tensor(1.0)}, None, {})
    before = file.read_bytes()

    monkeypatch.setattr(module, function, fail)
    with pytest.raises(OSError, match="No space left on device"):
        write_network_file(file, {"a.alpha": torch.tensor(2.0)}, None, {})
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == before
