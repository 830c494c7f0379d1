"""Randomness, atomic files, errors."""

import errno
import os
import random
import stat
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from library.atomic_files import atomic_path, write_text_atomically
from library.errors import UserError, format_problems
from library.randomness import derive_seed, python_generator, tensor_generator

# ---- randomness


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0, ""), 9154688323116392865),
        ((42, "noise"), 5471889167361273164),
        ((42, "noise", "0/0/image.png", 3), 3292133271563140738),
        ((42, "order of images", 0, 1, 512, 768), 3462455355787868228),
        ((2**40, "Zweck ü", "0/1/Bild 東京.png", 0), 2673981429260281334),
    ],
)
def test_seeds_of_the_day_this_was_written(arguments, expected):
    """Seeds must stay what they are: with other ones nobody could repeat an earlier run."""
    assert derive_seed(*arguments) == expected


def test_seeds_depend_on_every_argument_its_place_and_its_type():
    variants = [
        (1, "a"),
        (2, "a"),
        (1, "b"),
        (1, "a", 1),
        (1, "a", "1"),
        (1, "a", 1, 1),
        (1, "a", 1, 2),
        (1, "a", 2, 1),
        (1, "a", "1", "2"),
        (1, "a", "12"),
        (1, "a", ""),
        (1, "a", "", ""),
        (11, "a"),
        (1, "1a"),
        (1, "a1"),
        (-1, "a"),
        (1, "a", True),
        (1, "a", "é"),
        (1, "a", "e\u0301"),
    ]
    seeds = [derive_seed(*variant) for variant in variants]
    assert len(set(seeds)) == len(variants) == 19
    assert seeds == [derive_seed(*variant) for variant in variants]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_use_all_63_bits():
    seeds = [derive_seed(1, "bits", number) for number in range(2000)]
    assert len(set(seeds)) == 2000
    for bit in range(63):
        share = sum(seed >> bit & 1 for seed in seeds) / 2000
        assert 0.44 < share < 0.56, bit


def test_names_of_files_that_are_no_unicode_have_seeds():
    """As Python hands them over on Linux, one half of a surrogate pair for each byte it cannot decode."""
    name = os.fsdecode(b"image \xff.png")
    assert derive_seed(1, "noise", name) != derive_seed(1, "noise", os.fsdecode(b"image \xfe.png"))


def test_seeds_are_the_same_in_every_process():
    """Python's own hash of a text is not."""
    code = "from library.randomness import derive_seed; print(derive_seed(5, 'x', 'name', 2))"
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONHASHSEED": "123", "PYTHONPATH": str(root)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(result.stdout) == derive_seed(5, "x", "name", 2)


def test_generators_draw_the_same_whatever_was_drawn_before():
    assert [round(python_generator(42, "flip", "a").random(), 6) for _ in range(2)] == [0.509688, 0.509688]
    first = torch.randn(3, generator=tensor_generator(42, "noise", "a"))
    random.seed(9)
    torch.manual_seed(9)
    torch.rand(5)
    assert torch.equal(torch.randn(3, generator=tensor_generator(42, "noise", "a")), first)
    assert first.tolist() == pytest.approx([-0.72468, -0.8329, 0.16752], abs=1e-5)
    assert not torch.equal(torch.randn(3, generator=tensor_generator(43, "noise", "a")), first)
    assert tensor_generator(1, "x").device.type == "cpu"


def test_generators_leave_the_global_ones_alone():
    python_state, torch_state = random.getstate(), torch.get_rng_state()
    python_generator(1, "x").random()
    torch.rand(3, generator=tensor_generator(1, "x"))
    assert random.getstate() == python_state
    assert torch.equal(torch.get_rng_state(), torch_state)


# ---- atomic files

NAMES = ("file.txt", "mit Leerzeichen é.safetensors", "東京 🙂.ckpt", ".hidden", "no extension", "ü" * 100 + ".txt")


@pytest.mark.parametrize("name", NAMES)
def test_a_new_file(tmp_path, name):
    target = tmp_path / name
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(f".partial{target.suffix}")
        assert temporary != target
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"new"}


def test_the_old_file_is_there_until_the_new_one_is(tmp_path):
    target = tmp_path / "file.txt"
    target.write_bytes(b"old")
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"ne")
        assert target.read_bytes() == b"old"
        with open(temporary, "ab") as file:
            file.write(b"w")
    assert target.read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), SystemExit(1)],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("existed", [True, False])
def test_an_exception_leaves_everything_as_it_was(tmp_path, error, existed):
    target = tmp_path / "Datei ü.txt"
    if existed:
        target.write_bytes(b"old")
    with pytest.raises(type(error)) as caught, atomic_path(target) as temporary:
        temporary.write_bytes(b"half of the n")
        raise error
    assert caught.value is error
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({target.name: b"old"} if existed else {})


@pytest.mark.parametrize("function", ["fsync", "chmod", "replace"])
def test_a_disk_that_fills_up_at_the_last_moment(tmp_path, monkeypatch, function):
    target = tmp_path / "file.txt"
    target.write_bytes(b"old")

    def fail(*arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((os, "fsync", fail) if function == "fsync" else (Path, function, fail)))
    with pytest.raises(OSError, match="No space left") as caught, atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
    assert caught.value.errno == errno.ENOSPC
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file.txt": b"old"}


def test_data_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    target = tmp_path / "file.txt"
    events = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append(("flush folder" if is_folder else "flush file", target.exists()))
        fsync(descriptor)

    def watched_replace(self, other):
        events.append(("rename", target.exists()))
        return replace(self, other)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    write_text_atomically(target, "x")
    folder = [("flush folder", True)] if os.name == "posix" else []
    assert events == [("flush file", False), ("rename", False), *folder]


@pytest.mark.skipif(os.name != "posix", reason="modes are a matter of POSIX systems")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002, 0o000])
def test_permissions_are_those_of_an_ordinary_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_text_atomically(tmp_path / "ours", "x")
        (tmp_path / "ordinary").write_text("x")
        assert os.umask(umask) == umask, "the mask of the process must stay"
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "ordinary")}
    assert modes["ours"] == modes["ordinary"] == 0o666 & ~umask


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "missing" / "file.txt"):
        pytest.fail("the block must not run")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_same_name(tmp_path):
    (tmp_path / "file.txt" / "inner").mkdir(parents=True)
    with pytest.raises(OSError), atomic_path(tmp_path / "file.txt") as temporary:
        temporary.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_two_writers_do_not_disturb_each_other(tmp_path):
    target = tmp_path / "file.txt"
    with atomic_path(target) as first, atomic_path(target) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 1


def test_texts_are_utf8_with_plain_line_ends(tmp_path):
    write_text_atomically(tmp_path / "x", "Größe\n東京\r\n")
    assert (tmp_path / "x").read_bytes() == "Größe\n東京\r\n".encode()


# ---- errors


def test_a_user_error_holds_its_problems():
    assert UserError("--seed 'x': must be a number").problems == ("--seed 'x': must be a number",)
    several = UserError(["one", "two"])
    assert several.problems == ("one", "two")
    assert str(several) == "one\ntwo"
    assert isinstance(several, Exception)
    assert UserError(problem for problem in ("one", "two")).problems == ("one", "two")


def test_reports():
    assert format_problems(["only one"]) == "Error: only one"
    report = format_problems([f"problem {number}" for number in range(1, 12)])
    lines = report.split("\n")
    assert lines[0] == "11 problems were found:"
    assert lines[1] == "  1. problem 1"
    assert lines[11] == "  11. problem 11"
    assert len(lines) == 12
    assert all(int(first.split(".")[0]) + 1 == int(second.split(".")[0]) for first, second in pairwise(lines[1:]))
