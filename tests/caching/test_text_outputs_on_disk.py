"""The folder of encoded captions: found again, shared, damaged, full."""

import logging
import multiprocessing
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from library.caching import packed_files, text_outputs_on_disk
from library.caching.packed_files import open_packed
from library.caching.shared_work import Processes
from library.caching.text_outputs_on_disk import CAPTIONS_PER_FILE, OutputsOnDisk, encode_on_disk
from library.errors import UserError
from tests.caching.stand_in_encoder import StandInEncoder, assert_same, encoder_of, tokenize

CAPTIONS = [f"caption {number}" for number in range(CAPTIONS_PER_FILE + 12)]


def encode(folder, captions=CAPTIONS, model=None, **options):
    model = model or StandInEncoder()
    outputs = encode_on_disk(encoder_of(model), captions, folder, **options)
    return outputs, model


def keys_in(file):
    return open_packed(file).metadata["captions"].split()


def files_in(folder):
    return sorted(folder.glob("*.safetensors"), key=lambda file: file.stat().st_size, reverse=True)


def assert_holds(outputs, captions):
    with torch.no_grad():
        for start in range(0, len(captions), 4):
            batch = [*captions, *captions][start : start + 4]  # always four: other sizes are rounded differently
            assert_same(outputs.conditioning(batch), StandInEncoder()(tokenize(batch)))


def test_a_second_run_encodes_nothing(tmp_path):
    encode(tmp_path)
    outputs, model = encode(tmp_path)
    assert model.encoded == []
    assert outputs.missing() == []
    assert_holds(outputs, CAPTIONS)


def test_new_captions_are_added(tmp_path):
    encode(tmp_path, CAPTIONS[:10])
    outputs, model = encode(tmp_path, CAPTIONS[5:20])
    assert sorted(set(model.encoded)) == sorted(CAPTIONS[10:20])
    assert_holds(outputs, CAPTIONS[5:20])


def test_files_fill_up_as_encoding_goes_on(tmp_path):
    encode(tmp_path)
    assert [len(keys_in(file)) for file in files_in(tmp_path)] == [CAPTIONS_PER_FILE, 12]


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    class Killed(BaseException):
        pass

    class Dying(StandInEncoder):
        def forward(self, tokens):
            if len(self.encoded) >= CAPTIONS_PER_FILE + 4:
                raise Killed
            return super().forward(tokens)

    with pytest.raises(Killed):
        encode(tmp_path, model=Dying())
    outputs, model = encode(tmp_path)
    assert sorted(set(model.encoded)) == sorted(CAPTIONS[CAPTIONS_PER_FILE:])
    assert_holds(outputs, CAPTIONS)


def test_files_of_an_interrupted_write_are_ignored(tmp_path, caplog):
    encode(tmp_path, CAPTIONS[:4])
    (file,) = files_in(tmp_path)
    (tmp_path / f".{file.name[:40]}.x.partial.safetensors").write_bytes(file.read_bytes()[:50])
    (tmp_path / "notes.safetensors").write_bytes(b"not ours")
    assert encode(tmp_path, CAPTIONS[:4])[1].encoded == []
    assert caplog.text == ""


def _truncate(file):
    file.write_bytes(file.read_bytes()[:-1000])


def _flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[-1000] ^= 1
    file.write_bytes(content)


def _rename_a_caption(file):
    swapped = file.read_bytes().replace(keys_in(file)[0].encode(), b"0" * 32)
    file.write_bytes(swapped)


DAMAGE = {
    "truncated": _truncate,
    "empty": lambda file: file.write_bytes(b""),
    "zeros": lambda file: file.write_bytes(b"\0" * file.stat().st_size),
    "flipped bit": _flip_a_bit,
    "another key": _rename_a_caption,
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_captions_of_a_damaged_file_are_encoded_again_with_one_warning(tmp_path, caplog, damage):
    encode(tmp_path)
    damaged = files_in(tmp_path)[0]
    damage(damaged)
    outputs, model = encode(tmp_path)
    assert sorted(set(model.encoded)) == sorted(CAPTIONS[:CAPTIONS_PER_FILE])
    assert_holds(outputs, CAPTIONS)
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert damaged.name in warning.message
    assert "encoded again" in warning.message


def test_files_that_cannot_be_read_for_now_are_kept(tmp_path, monkeypatch):
    encode(tmp_path, CAPTIONS[:4])
    with monkeypatch.context() as trouble:

        def refuse(*arguments, **keywords):
            raise OSError(24, "Too many open files")

        trouble.setattr(packed_files, "safe_open", refuse)
        outputs = OutputsOnDisk(tmp_path, CAPTIONS[:4])
        assert len(outputs.missing()) == 4
    assert_holds(OutputsOnDisk(tmp_path, CAPTIONS[:4]), CAPTIONS[:4])


def test_damage_in_files_that_the_run_does_not_need_does_not_matter(tmp_path, caplog):
    encode(tmp_path, CAPTIONS[:4])
    _flip_a_bit(files_in(tmp_path)[0])
    encode(tmp_path, CAPTIONS[4:8])
    assert caplog.text == ""


def test_a_file_that_vanishes_during_training_is_named(tmp_path):
    encode(tmp_path, CAPTIONS[:4])
    outputs = OutputsOnDisk(tmp_path, CAPTIONS[:4])
    (file,) = files_in(tmp_path)
    file.unlink()
    with pytest.raises(UserError, match=rf"{file.name}' has vanished or was damaged .* start again"):
        outputs.conditioning(CAPTIONS[:1])


def test_an_empty_share_writes_nothing(tmp_path):
    folder = tmp_path / "cache"
    outputs, model = encode(folder, [])
    assert outputs.missing() == []
    assert model.encoded == []
    assert not folder.exists()


def _run_process(folder, captions, rank, num_processes, barrier, results):
    torch.set_num_threads(1)  # the threads that the test process may have started did not come along
    outputs, model = encode(folder, captions, processes=Processes(rank, num_processes, barrier.wait))
    outputs.conditioning(captions)
    results.put((rank, sorted(set(model.encoded)), outputs.missing()))


def run_processes(arguments):
    """Calls _run_process in processes of their own, and returns what they say, by rank."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_run_process, args=(*each, results)) for each in arguments(context)]
    for process in processes:
        process.start()
    said = sorted((results.get(timeout=30) for _ in processes), key=lambda one: one[0])
    for process in processes:
        process.join()
    return said


@pytest.mark.parametrize("already_there", [[], CAPTIONS[::3]], ids=["empty folder", "a third is there"])
def test_processes_of_a_run_share_the_work(tmp_path, already_there):
    encode(tmp_path, already_there)

    def arguments(context):
        barrier = context.Barrier(3)
        return [(tmp_path, CAPTIONS, rank, 3, barrier) for rank in range(3)]

    shares = run_processes(arguments)
    missing = [caption for caption in CAPTIONS if caption not in already_there]
    assert [encoded for _, encoded, _ in shares] == [sorted(missing[rank::3]) for rank in range(3)]
    assert all(not still_missing for _, _, still_missing in shares)
    assert_holds(OutputsOnDisk(tmp_path, CAPTIONS), CAPTIONS)


def test_two_runs_at_once_do_not_disturb_each_other(tmp_path):
    def arguments(context):
        return [(tmp_path, CAPTIONS, 0, 1, context.Barrier(1)) for _ in range(2)]

    for _, _, still_missing in run_processes(arguments):
        assert still_missing == []
    outputs, model = encode(tmp_path)
    assert model.encoded == []
    assert_holds(outputs, CAPTIONS)


def test_processes_that_see_different_disks_encode_everything_themselves(tmp_path):
    def arguments(context):
        barrier = context.Barrier(2)
        return [(tmp_path / f"machine {rank}", CAPTIONS, rank, 2, barrier) for rank in range(2)]

    for _, encoded, still_missing in run_processes(arguments):
        assert encoded == sorted(CAPTIONS)
        assert still_missing == []


def test_a_read_only_folder_is_enough_when_nothing_is_missing(tmp_path, monkeypatch):
    encode(tmp_path)

    def refuse(*arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(text_outputs_on_disk, "write_packed", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert_holds(encode(tmp_path)[0], CAPTIONS)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--cache_text_encoder_outputs_to_disk: '.*file.cache' cannot be written"):
        encode(tmp_path / "file" / "cache")


def test_too_little_room_is_known_after_the_first_batch(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9 - 1000, 1000))
    model = StandInEncoder()
    with pytest.raises(UserError, match=r"1000 bytes are free; make room or choose another folder with --cache_dir"):
        encode(tmp_path, model=model)
    assert len(model.encoded) == 4
    assert files_in(tmp_path) == []


def test_a_disk_that_becomes_full_is_reported_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(UserError, match=r"cannot be written: No space left on device"):
        encode(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_loses_what_is_written_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(text_outputs_on_disk, "write_packed", lambda *arguments: None)
    with pytest.raises(UserError, match="just written are not there"):
        encode(tmp_path)


def test_only_files_that_are_used_are_mapped_after_a_journey(tmp_path):
    """Loader processes open what their batches need."""
    encode(tmp_path)
    outputs = OutputsOnDisk(tmp_path, CAPTIONS)
    assert outputs.__getstate__()["_opened"] == {}
    outputs.conditioning(CAPTIONS[:2])
    assert len(outputs._opened) == 1
    assert outputs.__getstate__()["_opened"] == {}
