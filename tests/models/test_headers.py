"""Names and shapes of tensors from files of every form, without torch in the code that reads them."""

import io
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from library.errors import UserError
from library.models.checkpoints.headers import LARGEST_HEADER, read_header
from library.models.checkpoints.pickled_headers import HeaderUnpickler

SHAPES = {"b.weight": (4, 3), "a.bias": (5,), "scalar": (), "empty": (0,)}


def tensors() -> dict[str, torch.Tensor]:
    return {name: torch.arange(float(np.prod(shape, dtype=int))).reshape(shape) for name, shape in SHAPES.items()}


def shared_storage() -> dict[str, torch.Tensor]:
    matrix = torch.ones(4, 6)
    return {"whole": matrix, "turned": matrix.T, "part": matrix[1:3, ::2]}


def write(path: Path, content, form: str) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_header(path, "option")
    (problem,) = caught.value.problems
    assert problem.startswith(f"--option '{path}': ")
    assert "\n" not in problem
    return problem.removeprefix(f"--option '{path}': ")


def test_reading_needs_no_torch():
    """Preflight checks have to be over before anything heavy is imported."""
    modules = (
        "library.models.inspection, library.models.hub, library.models.model_source, "
        "library.models.checkpoints.headers, library.models.checkpoints.folder_identification"
    )
    heavy = "{'torch', 'numpy', 'diffusers', 'transformers', 'safetensors', 'accelerate'}"
    code = f"import sys, {modules}\nprint(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# ---- safetensors


def test_safetensors(tmp_path):
    path = tmp_path / "Modell für mich.safetensors"
    save_file({**tensors(), "half": torch.ones(2, 2, dtype=torch.float16)}, path, {"modelspec.title": "Ümläute"})
    header = read_header(path, "option")
    assert header.shapes == {**SHAPES, "half": (2, 2)}
    assert header.metadata == {"modelspec.title": "Ümläute"}


def safetensors_file(path: Path, entries: dict, data: bytes, length: int | None = None) -> Path:
    header = json.dumps(entries).encode()
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + data)
    return path


def entry(shape, begin, end):
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


def test_the_order_is_that_in_the_file(tmp_path):
    entries = {"last": entry([1], 8, 12), "first": entry([2], 0, 8)}
    path = safetensors_file(tmp_path / "x.safetensors", entries, bytes(12))
    assert list(read_header(path, "option").shapes) == ["first", "last"]
    assert read_header(path, "option").metadata == {}


@pytest.mark.parametrize(("missing", "found"), [(1, 11), (4, 8), (12, 0)])
def test_truncated_safetensors_say_how_much_is_there(tmp_path, missing, found):
    path = safetensors_file(tmp_path / "x.safetensors", {"a": entry([3], 0, 12)}, bytes(found))
    size = path.stat().st_size
    assert refusal(path) == f"the file is cut short: {size} bytes instead of {size + missing}; download it again"


def test_safetensors_cut_within_the_header(tmp_path):
    path = safetensors_file(tmp_path / "x.safetensors", {"a": entry([3], 0, 12)}, b"")
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-20])
    expected = f"the file is cut short: {whole - 20} bytes instead of more than {whole}; download it again"
    assert refusal(path) == expected


BROKEN_SAFETENSORS = {
    "too long": ({"a": entry([1], 0, 4)}, bytes(5), None, r"it is \d+ bytes long instead of \d+"),
    "negative length": ({"a": entry([1], 0, 4)}, bytes(4), 2**64 - 1, "its header would be 18,446,744,"),
    "large length": ({"a": entry([1], 0, 4)}, bytes(4), LARGEST_HEADER + 1, "its header would be 100,000,001 bytes"),
    "short length": ({"a": entry([1], 0, 4)}, bytes(4), 9, "its header cannot be understood"),
    "a list": ([1], b"", None, "it has no header|its header cannot be understood"),
    "no entry": ({"a": 3}, b"", None, "its header cannot be understood"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [1]}}, b"", None, "its header cannot be understood"),
    "negative side": ({"a": entry([-1], 0, 4)}, bytes(4), None, "its header cannot be understood"),
    "turned offsets": ({"a": entry([1], 4, 0)}, bytes(4), None, "its header cannot be understood"),
    "words": ({"a": entry("x", 0, 4)}, bytes(4), None, "its header cannot be understood"),
}


@pytest.mark.parametrize("case", BROKEN_SAFETENSORS)
def test_broken_safetensors(tmp_path, case):
    entries, data, length, reason = BROKEN_SAFETENSORS[case]
    path = safetensors_file(tmp_path / "x.safetensors", entries, data, length)
    with pytest.raises(UserError, match=rf"the file is damaged or not a safetensors file \(({reason})"):
        read_header(path, "option")


def test_safetensors_without_tensors(tmp_path):
    path = safetensors_file(tmp_path / "x.safetensors", {"__metadata__": {"a": "b"}}, b"")
    assert refusal(path) == "the file holds no named tensors"


def test_a_large_file_is_not_read(tmp_path):
    """64 GB that take no room: as long as nobody reads them."""
    size = 2**36
    path = safetensors_file(tmp_path / "x.safetensors", {"a": entry([2**17, 2**17], 0, size)}, b"")
    os.truncate(path, path.stat().st_size + size)
    assert read_header(path, "option").shapes == {"a": (2**17, 2**17)}


# ---- pickles


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("content", [tensors, shared_storage])
@pytest.mark.parametrize("extension", [".ckpt", ".pt", ".PTH", ".bin"])
def test_pickles(tmp_path, form, content, extension):
    path = write(tmp_path / f"Modell{extension}", content(), form)
    header = read_header(path, "option")
    assert header.shapes == {name: tuple(tensor.shape) for name, tensor in content().items()}
    assert header.metadata == {}


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_every_type_of_element(tmp_path, form):
    types = (
        torch.float16, torch.float32, torch.float64, torch.bfloat16, torch.int8, torch.int16, torch.int32, torch.int64,
        torch.uint8, torch.bool,
    )  # fmt: skip
    path = write(tmp_path / "x.ckpt", {str(one): torch.ones(3, 2, dtype=one) for one in types}, form)
    assert read_header(path, "option").shapes == {str(one): (3, 2) for one in types}


class Callback:
    """Something that a training framework leaves in its checkpoints."""

    def __init__(self):
        self.best = np.float64(0.5)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_checkpoints_of_training_frameworks(tmp_path, form):
    state = OrderedDict(tensors(), step=np.int64(3), parameter=torch.nn.Parameter(torch.ones(2, 7)))
    state._metadata = OrderedDict(version=1)
    content = {
        "epoch": 7,
        "state_dict": state,
        "callbacks": {Callback: Callback()},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "history": np.arange(4)}],
        "kept": {1, 2},
        "path": Path("x"),
    }
    path = write(tmp_path / "last.ckpt", content, form)
    assert read_header(path, "option").shapes == {**SHAPES, "parameter": (2, 7)}


def test_tensors_are_not_read(tmp_path):
    """Their bytes are spoilt: an archive's check sums would tell if they were read."""
    path = write(tmp_path / "x.ckpt", {"a": torch.full((1000,), 1.5)}, "zip")
    content = path.read_bytes()
    pattern = np.full(1000, 1.5, np.float32).tobytes()
    assert content.count(pattern) == 1
    path.write_bytes(content.replace(pattern, bytes(4000)))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip().endswith("data/0")
    assert read_header(path, "option").shapes == {"a": (1000,)}


@pytest.mark.parametrize("part", [0.001, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_truncated_pickles(tmp_path, form, part):
    path = write(tmp_path / "x.ckpt", {"a": torch.ones(5000), "b": torch.ones(3)}, form)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    problem = refusal(path)
    if form == "legacy" and part > 0.3:
        assert problem == (
            f"the file is cut short: {path.stat().st_size:,} bytes instead of {len(content):,}; download it again"
        )
    elif form == "zip" and part > 0.001:
        assert problem.startswith("the file is cut short or damaged: it is an archive without its end")
    else:
        assert problem.startswith(("the file is damaged or not a checkpoint (", "the file is cut short"))


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("content", [torch.ones(3), {"a": 1}, [torch.ones(1)], {"a": {"b": torch.ones(1)}}], ids=str)
def test_checkpoints_without_named_tensors(tmp_path, content, form):
    assert refusal(write(tmp_path / "x.ckpt", content, form)) == "the file holds no named tensors"


def test_embeddings_are_told(tmp_path):
    content = {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(2, 768)}, "name": "x"}
    assert read_header(write(tmp_path / "x.pt", content, "zip"), "option").shapes == {"string_to_param": ()}


# ---- pickles that do harm


class Payload:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def payloads(marker: Path) -> dict[str, Payload]:
    return {
        "os.system": Payload(os.system, f"mkdir '{marker}'"),
        "eval": Payload(eval, f"__import__('os').mkdir({str(marker)!r})"),
        "os.mkdir": Payload(os.mkdir, str(marker)),
        "getattr": Payload(getattr, Payload(os.mkdir, str(marker)), "x", None),
        "torch": Payload(torch.save, {"x": 1}, str(marker)),
    }


@pytest.mark.parametrize("attack", ["os.system", "eval", "os.mkdir", "getattr", "torch"])
@pytest.mark.parametrize("place", ["instead", "beside", "value", "key", "attribute"])
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_nothing_is_executed(tmp_path, attack, place, form):
    marker = tmp_path / "marker"
    bad = payloads(marker)[attack]
    state = OrderedDict(a=torch.ones(2))
    if place == "attribute":
        state._metadata = bad
        state.get = bad
    content = {
        "instead": bad,
        "beside": {"state_dict": state, "callbacks": [bad]},
        "value": {"a": torch.ones(2), "bad": {"deeper": (bad,)}},
        "key": {"a": torch.ones(2), bad: torch.ones(2)},
        "attribute": {"state_dict": state},
    }[place]
    path = write(tmp_path / "x.ckpt", content, form)
    if place == "instead":
        assert refusal(path) == "the file holds no named tensors"
    else:
        assert read_header(path, "option").shapes == {"a": (2,)}
    assert not marker.exists()


def test_a_bare_pickle_is_refused_unexecuted(tmp_path):
    path = tmp_path / "x.ckpt"
    path.write_bytes(pickle.dumps(payloads(tmp_path / "marker")["os.mkdir"]))
    assert "does not begin with PyTorch's magic number" in refusal(path)
    assert not (tmp_path / "marker").exists()


def test_nothing_outlives_a_file():
    """A pickle may set attributes of what it names; the next file must not see them."""
    for module, name in (("torch._utils", "_rebuild_tensor_v2"), ("collections", "OrderedDict"), ("os", "system")):
        first, second = (HeaderUnpickler(io.BytesIO()).find_class(module, name) for _ in range(2))
        assert first is not second


def test_programs_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    assert refusal(path) == "the file is a TorchScript program, not a checkpoint; programs are not run"


# ---- files that are something else


@pytest.mark.parametrize("extension", [".safetensors", ".ckpt"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty; download it again"),
        (b"<!DOCTYPE html>\n<html><title>Log in</title>", "the file is a web page"),
        (b"\n  <HTML lang='en'>" + b"x" * 600, "the file is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "the file is a pointer of git-lfs"),
        (b"Entry not found", "the file is damaged or not a "),
        (b"This is what a login page says. " * 40, "the file is damaged or not a "),
        (bytes(500), "the file is damaged or not a "),
        (pickle.dumps({"a": 1}), "the file is damaged or not a "),
        (b"\x80\x02", "the file is damaged or not a "),
    ],
)
def test_files_that_are_nothing(tmp_path, extension, content, expected):
    path = tmp_path / f"x{extension}"
    path.write_bytes(content)
    assert refusal(path).startswith(expected)


def test_files_with_the_name_of_the_other_form(tmp_path):
    save_file(tensors(), tmp_path / "a.ckpt")
    assert refusal(tmp_path / "a.ckpt").startswith("the file is a safetensors file; rename it")
    for form in ("zip", "legacy"):
        path = write(tmp_path / f"{form}.safetensors", tensors(), form)
        assert refusal(path).startswith("the file is a pickled checkpoint")


def test_archives_of_something_else(tmp_path):
    path = tmp_path / "x.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images/1.png", b"x")
    assert refusal(path) == "the file is an archive, but not a checkpoint: it has no record data.pkl"


@pytest.mark.parametrize("extension", [".safetensors", ".ckpt"])
def test_a_folder(tmp_path, extension):
    (tmp_path / f"folder{extension}").mkdir()
    assert refusal(tmp_path / f"folder{extension}") == "this is a folder; name a file in it"


@pytest.mark.parametrize("extension", [".safetensors", ".ckpt"])
def test_a_file_that_is_gone(tmp_path, extension):
    assert refusal(tmp_path / f"gone{extension}") == "No such file or directory"
