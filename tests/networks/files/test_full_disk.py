"""A disk that is full while a network is saved."""

import pytest
import safetensors.torch
import torch

from networks.files.weights_file import write_network_file

FULL = "I/O error: No space left on device (os error 28)"


@pytest.mark.parametrize(
    ("extension", "module", "function", "error"),
    [
        ("safetensors", safetensors.torch, "save_file", safetensors.SafetensorError(FULL)),
        ("ckpt", torch, "save", RuntimeError(FULL)),
    ],
)
def test_the_old_file_stays_and_the_error_says_why(tmp_path, monkeypatch, extension, module, function, error):
    file = tmp_path / f"network.{extension}"
    write_network_file(file, {"a.alpha": torch.tensor(1.0)}, None, {})
    before = file.read_bytes()

    def fail(tensors, path, *arguments):
        path.write_bytes(b"half a file")
        raise error

    monkeypatch.setattr(module, function, fail)
    with pytest.raises(OSError, match="No space left on device"):
        write_network_file(file, {"a.alpha": torch.tensor(2.0)}, None, {})
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == before
