"""Pickled checkpoints that would do harm: they load without it, or are refused."""

import builtins
import os
import pickle
import subprocess
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from library.errors import UserError
from library.models.checkpoints.safe_unpickling import load_pickled_checkpoint
from library.models.checkpoints.weights_file import WeightsFile

CPU = torch.device("cpu")


class Payload:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def payload(attack: str, marker: Path) -> Payload:
    return {
        "os.system": Payload(os.system, f"mkdir '{marker}'"),
        "eval": Payload(builtins.eval, f"__import__('os').mkdir({str(marker)!r})"),
        "exec": Payload(builtins.exec, f"import os; os.mkdir({str(marker)!r})"),
        "subprocess": Payload(subprocess.check_call, ["mkdir", str(marker)]),
        "os.mkdir": Payload(os.mkdir, str(marker)),
        "getattr": Payload(builtins.getattr, Payload(os.mkdir, str(marker)), "x", None),
        "torch": Payload(torch.save, {"x": 1}, str(marker)),
        "numpy": Payload(np.save, str(marker), 1),
    }[attack]


ATTACKS = ("os.system", "eval", "exec", "subprocess", "os.mkdir", "getattr", "torch", "numpy")


def placed(place: str, bad: Payload):
    tensors = OrderedDict(a=torch.ones(2))
    if place == "instead of tensors":
        return bad
    if place == "beside the state dict":
        return {"state_dict": tensors, "callbacks": [bad]}
    if place == "as a value":
        tensors["bad"] = bad
    elif place == "inside a value":
        tensors["bad"] = {"deeper": [(bad,)]}
    elif place == "as an attribute":
        tensors._metadata = bad
    elif place == "as a key":
        return {"state_dict": {"a": torch.ones(2), bad: torch.ones(2)}}
    return {"state_dict": tensors}


PLACES = (
    "instead of tensors", "beside the state dict", "as a value", "inside a value", "as an attribute", "as a key",
)  # fmt: skip


def read_header_and_tensors(path: Path, use_mmap: bool) -> dict[str, torch.Tensor]:
    file = WeightsFile(path, "option", use_mmap)
    return file.read(list(file.shapes), torch.float32, CPU)


READERS = {
    "mapped": lambda path: read_header_and_tensors(path, use_mmap=True),
    "at once": lambda path: read_header_and_tensors(path, use_mmap=False),
    # not protected by the header's reader, which refuses some files before
    "alone, mapped": lambda path: load_pickled_checkpoint(path, mmap=True),
    "alone, at once": lambda path: load_pickled_checkpoint(path, mmap=False),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_checkpoints_do_nothing_but_load(tmp_path, attack, reader):
    marker = tmp_path / "marker"
    path = tmp_path / "böse.ckpt"
    forms = [lambda content: torch.save(content, path)]
    forms += [lambda content: torch.save(content, path, _use_new_zipfile_serialization=False)]
    forms += [lambda content: path.write_bytes(pickle.dumps(content))]
    loaded = 0
    for place in PLACES:
        for write in forms:
            write(placed(place, payload(attack, marker)))
            try:
                tensors = READERS[reader](path)
            except (UserError, ValueError) as error:
                assert isinstance(error, ValueError) == reader.startswith("alone")
                assert str(path) in str(error) or reader.startswith("alone")
            else:
                assert list(tensors) == ["a"]
                loaded += 1
            assert not list(tmp_path.glob("marker*")), place
    # bare pickles are refused, and so is a file that holds no tensors; all others load without the payload
    assert loaded == 2 * (len(PLACES) - 1)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_attacks_would_work(tmp_path, attack):
    """Else the test above proves nothing."""
    marker = tmp_path / "marker"
    try:
        pickle.loads(pickle.dumps(payload(attack, marker)))
    except (TypeError, AttributeError):
        assert attack == "getattr"
    assert list(tmp_path.glob("marker*"))


class Program(torch.nn.Module):
    """Writes a file when torch.jit.load restores it."""

    def __init__(self, marker: str):
        super().__init__()
        self.marker = marker

    @torch.jit.export
    def __getstate__(self):
        return (self.marker, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        torch.save(torch.ones(1), state[0])
        self.marker = state[0]
        self.training = state[1]

    def forward(self, x):
        return x


def test_torchscript_programs_are_not_run(tmp_path):
    """torch.load hands them to another loader, which runs them whatever the unpickler allows."""
    marker = tmp_path / "marker"
    path = tmp_path / "model.ckpt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Program(str(marker))).save(path)
        torch.jit.load(path)
        assert marker.exists(), "the attack would not work"
        marker.unlink()
        for reader, read in READERS.items():
            kind = ValueError if reader.startswith("alone") else UserError
            with pytest.raises(kind, match="TorchScript program") as caught:
                read(path)
            assert str(path) in str(caught.value) or reader.startswith("alone")
    assert not marker.exists()
