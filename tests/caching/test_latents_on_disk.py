"""The folder of latents: nothing stale is used, nothing valid is encoded twice, whatever happens to the files."""

import logging
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from library.caching import pack_writing, packed_files
from library.caching.cache_folder import CacheFolder
from library.caching.latent_pictures import entry_key, pictures_of, settings_key
from library.caching.latents_on_disk import DTYPE, KIND, encode_on_disk, fingerprints_of
from library.caching.pack_writing import PackLimits
from library.caching.packed_files import open_packed
from library.caching.shared_work import Processes
from library.dataset.images.image_index import ImageIndex
from library.dataset.images.picture_files import FilePictures
from library.diffusion.latents import LatentLayout
from library.errors import UserError
from library.randomness import tensor_generator
from tests.caching.stand_in_vae import (
    SEED,
    TOO_BRIGHT,
    TOO_RED,
    StandInVae,
    dataset_in,
    encode,
    encoder_of,
    fetch,
    paint,
    paint_one_colour,
    pictures_in,
)

COUNT = 12
LITTLE = PackLimits(num_bytes=4 * 4 * 8 * 8 * 2)
"""Four pictures for each file."""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "Bilder für alle"
    for number in range(COUNT):
        paint(folder / f"{number:02}.png", number)
    return folder


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache é"


def files_in(cache):
    return sorted(cache.glob("latents-*.safetensors"))  # not those that a killed run had begun


def entries_in(cache):
    names = [name for file in files_in(cache) for name in open_packed(file).tensors]
    assert len(names) == len(set(names))
    return {name.partition(".")[0] for name in names}


def assert_holds(latents, pictures):
    """Every picture's latents are those of its own content."""
    cached = fetch(latents, pictures)
    assert cached.missing == ()
    fresh = encoder_of(StandInVae(), resamples=True)
    fingerprints = fingerprints_of(fresh, pictures)
    encoded = fresh.encode([[picture] for picture in pictures], lambda picture: torch.Generator())
    for row, ((picture, outcome),) in enumerate(encoded):
        key = entry_key(picture, fingerprints[picture.record.image_id])
        draws = torch.randn(4, 8, 8, generator=tensor_generator(0, "cached", key))
        sample = torch.from_numpy(outcome.latents) + torch.from_numpy(outcome.deviations) * draws
        assert torch.equal(cached.latents[row], sample.half())


# ---- what is used again, and what is not


def test_a_second_run_encodes_nothing(folder, cache):
    pictures = pictures_in(folder, flip_aug=True)
    first, vae = encode(cache, pictures)
    assert vae.encoded == 2 * COUNT
    second, vae = encode(cache, pictures)
    assert vae.calls == []
    assert_holds(first, pictures)
    assert_holds(second, pictures)
    assert fetch(second, pictures).latents.dtype == torch.float16


def rename(folder):
    for path in list(folder.iterdir()):
        path.rename(folder / f"new {path.name}")


def reverse(folder):
    """Each picture gets the name of another."""
    names = sorted(path.name for path in folder.iterdir())
    rename(folder)
    for name, other in zip(names, reversed(names), strict=True):
        (folder / f"new {name}").rename(folder / other)


def move_down(folder):
    below = folder / "below"
    below.mkdir()
    for path in list(folder.glob("*.png")):
        path.rename(below / path.name)


def touch(folder):
    for path in folder.iterdir():
        os.utime(path, (1, 1))


@pytest.mark.parametrize("change", [rename, reverse, move_down, touch])
def test_images_that_were_renamed_or_moved_are_known(folder, cache, change):
    encode(cache, pictures_in(folder))
    change(folder)
    pictures = pictures_in(folder)
    latents, vae = encode(cache, pictures)
    assert vae.calls == []
    assert_holds(latents, pictures)


def test_identical_images_share_an_entry(folder, cache):
    for number in range(COUNT):
        shutil.copy(folder / f"{number:02}.png", folder / f"copy {number}.png")
    pictures = pictures_in(folder)
    latents, vae = encode(cache, pictures)
    assert vae.encoded == COUNT
    assert len(pictures) == 2 * COUNT
    assert_holds(latents, pictures)


def test_the_seed_of_a_run_does_not_matter_but_the_content_does(folder, cache):
    """Two pictures whose latents have the same mean still get draws of their own."""
    for number in range(4):
        paint_one_colour(folder / f"grey {number}.png", (90, 90, 90 + number))
    pictures = [picture for picture in pictures_in(folder) if picture.record.name.startswith("grey")]
    latents = fetch(encode(cache, pictures)[0], pictures).latents.float()
    assert torch.corrcoef(latents.flatten(1)).fill_diagonal_(0).abs().max() < 0.5


def test_an_image_that_was_edited_is_encoded_again(folder, cache):
    """Same name, same size in pixels, and the time of modification set back."""
    encode(cache, pictures_in(folder))
    path = folder / "03.png"
    state = path.stat()
    paint(path, seed=99)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    pictures = pictures_in(folder)
    latents, vae = encode(cache, pictures)
    assert vae.encoded == 1
    assert_holds(latents, pictures)


CHANGED_RULES = {
    "flip": {"flip_aug": True},
    "resolution": {"bucket": (128, 64)},
    "crop": {"bucket": (64, 32)},
    "interpolation": {"resize_interpolation": "nearest"},
}


@pytest.mark.parametrize("rules", CHANGED_RULES.values(), ids=CHANGED_RULES.keys())
def test_other_rules_make_other_pictures(folder, cache, rules):
    encode(cache, pictures_in(folder))
    pictures = pictures_in(folder, **rules)
    _, vae = encode(cache, pictures)
    assert vae.encoded == COUNT
    _, vae = encode(cache, pictures)
    assert vae.calls == []
    _, vae = encode(cache, pictures_in(folder))
    assert vae.calls == [], "what was there before is there still"


def test_masks_are_kept_with_the_picture(tmp_path, cache):
    folder, masks = tmp_path / "images", tmp_path / "masks"
    for number in range(3):
        paint(folder / f"{number}.png", number, mode="RGBA")
        paint(masks / f"{number}.png", 10 + number)
    by_mask = {}
    for name, options in {"none": {}, "alpha": {"alpha_mask": True}, "file": {"masks": masks}}.items():
        pictures = pictures_in(folder, **options)
        _, vae = encode(cache, pictures)
        assert vae.encoded == 3
        latents, vae = encode(cache, pictures)
        assert vae.calls == []
        by_mask[name] = fetch(latents, pictures).masks
    assert by_mask["none"] is None
    assert not torch.equal(by_mask["alpha"], by_mask["file"])
    paint(masks / "1.png", 20)
    pictures = pictures_in(folder, masks=masks)
    latents, vae = encode(cache, pictures)
    assert vae.encoded == 1
    changed = fetch(latents, pictures).masks
    assert [torch.equal(new, old) for new, old in zip(changed, by_mask["file"], strict=True)] == [True, False, True]


SETTINGS = {
    "weights": "0a1b", "precision": torch.float32, "layout": LatentLayout(4, 8), "scale": 0.18215, "resamples": False,
}  # fmt: skip
OTHER_SETTINGS = {
    "weights": "0a1c", "precision": torch.bfloat16, "layout": LatentLayout(16, 8), "scale": 0.13025, "resamples": True,
}  # fmt: skip


def test_a_settings_key_is_a_folder_name_that_stays_the_same():
    assert settings_key(**SETTINGS) == settings_key(**SETTINGS) == "88e2e756288839aab6b0aff7313bf5bd"


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_changes_the_key(name):
    assert settings_key(**{**SETTINGS, name: OTHER_SETTINGS[name]}) != settings_key(**SETTINGS)


def test_mean_and_deviation_reproduce_samples(folder, cache):
    pictures = pictures_in(folder)
    latents, _ = encode(cache, pictures, encoder={"resamples": True})
    again, vae = encode(cache, pictures, encoder={"resamples": True})
    assert vae.calls == []
    for one in (latents, again):
        cached = fetch(one, pictures)
        assert cached.latents.dtype == cached.deviations.dtype == torch.float16
        draws = torch.randn(cached.latents.shape, generator=torch.Generator().manual_seed(SEED))
        pixels = torch.stack(
            [torch.from_numpy(FilePictures().read(picture.record).pixels).permute(2, 0, 1) for picture in pictures]
        )
        expected = StandInVae().encode_images(pixels, draws)
        torch.testing.assert_close(
            cached.latents.float() + cached.deviations.float() * draws, expected, rtol=2e-3, atol=2e-3
        )


def test_several_datasets_at_once(folder, cache):
    datasets = [dataset_in(folder), dataset_in(folder, bucket=(32, 32))]
    pictures = pictures_of(datasets[:1]) + pictures_of(datasets[1:])
    assert len(pictures) == 2 * COUNT
    _, vae = encode(cache, pictures_of(datasets[1:]))
    assert vae.encoded == COUNT


# ---- files


def test_files_fill_up_as_encoding_goes_on(folder, cache):
    encode(cache, pictures_in(folder), limits=LITTLE)
    assert [len(open_packed(file).tensors) for file in files_in(cache)] == [4, 4, 4]


def test_slow_encoding_is_written_in_between(folder, cache):
    encode(cache, pictures_in(folder), vae=StandInVae(seconds_each=0.02), limits=PackLimits(seconds=0.05))
    assert len(files_in(cache)) >= 3
    assert len(entries_in(cache)) == COUNT


def test_an_interrupted_run_keeps_all_that_it_encoded(folder, cache):
    class Interrupted(StandInVae):
        def encode_images(self, pixels, draws):
            if self.encoded == 6:
                raise KeyboardInterrupt
            return super().encode_images(pixels, draws)

    with pytest.raises(KeyboardInterrupt):
        encode(cache, pictures_in(folder), vae=Interrupted())
    assert len(entries_in(cache)) == 6
    pictures = pictures_in(folder)
    latents, vae = encode(cache, pictures)
    assert vae.encoded == COUNT - 6
    assert_holds(latents, pictures)


def _truncate(file):
    file.write_bytes(file.read_bytes()[:-100])


def _flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)


def _rename_an_entry(file):
    key = next(iter(open_packed(file).tensors))[:32]
    file.write_bytes(file.read_bytes().replace(key.encode(), b"0" * 32))


DAMAGE = {
    "truncated": _truncate,
    "empty": lambda file: file.write_bytes(b""),
    "zeros": lambda file: file.write_bytes(b"\0" * file.stat().st_size),
    "flipped bit": _flip_a_bit,
    "another entry": _rename_an_entry,
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_encoded_again_with_one_warning(folder, cache, caplog, damage):
    pictures = pictures_in(folder)
    encode(cache, pictures, limits=LITTLE)
    damaged = files_in(cache)[1]
    damage(damaged)
    latents, vae = encode(cache, pictures)
    assert vae.encoded == 4
    assert_holds(latents, pictures)
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert damaged.name in warning.message
    assert "encoded again" in warning.message
    assert damaged.is_dir() or not damaged.exists()


def test_trusted_files_are_not_read_before_they_are_used(folder, cache, monkeypatch):
    pictures = pictures_in(folder)
    encode(cache, pictures)

    def refuse(path):
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("library.caching.cache_folder.verify_packed", refuse)
    latents, vae = encode(cache, pictures, is_trusted=True)
    assert vae.calls == []
    assert_holds(latents, pictures)
    with pytest.raises(AssertionError):
        encode(cache, pictures)


def test_trusted_images_are_not_looked_at(folder, cache):
    pictures, index = pictures_in(folder), ImageIndex(cache)
    encode(cache, pictures, encoder={"reader": FilePictures(index)})
    index.save()
    shutil.rmtree(folder)
    trusting = {"reader": FilePictures(ImageIndex(cache, trusts_files=True))}
    latents, vae = encode(cache, pictures, encoder=trusting, is_trusted=True)
    assert vae.calls == []
    assert fetch(latents, pictures).missing == ()


def test_files_of_an_interrupted_write_are_ignored_and_removed_when_old(folder, cache, caplog):
    encode(cache, pictures_in(folder))
    (file,) = files_in(cache)
    left, fresh = (cache / f".{file.name[:40]}.{name}.partial.safetensors" for name in ("old", "new"))
    for path in (left, fresh):
        path.write_bytes(file.read_bytes()[:50])
    os.utime(left, (time.time() - 90_000,) * 2)
    paint(folder / "another.png", 77)
    assert encode(cache, pictures_in(folder))[1].encoded == 1
    assert not left.exists()
    assert fresh.exists(), "somebody may be writing it"
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_files_stay_mapped_when_they_are_removed_while_training(folder, cache):
    pictures = pictures_in(folder)
    latents, _ = encode(cache, pictures)
    expected = fetch(latents, pictures).latents
    shutil.rmtree(cache)
    assert torch.equal(fetch(latents, pictures).latents, expected)


# ---- folders that cannot be written


def test_a_read_only_folder_is_enough_when_nothing_is_missing(folder, cache, monkeypatch):
    pictures = pictures_in(folder)
    encode(cache, pictures)

    def refuse(*arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pack_writing, "write_packed", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert_holds(encode(cache, pictures)[0], pictures)


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_encoded(folder, tmp_path):
    (tmp_path / "file").write_text("")
    vae = StandInVae()
    with pytest.raises(UserError, match=r"--cache_latents_to_disk: '.*file.cache' cannot be written: .*--cache_dir"):
        encode(tmp_path / "file" / "cache", pictures_in(folder), vae)
    assert vae.calls == []


def test_a_folder_that_may_only_be_read_is_refused_before_anything_is_encoded(folder, cache, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, f"Permission denied in {Path(dir).name}")

    cache.mkdir()
    monkeypatch.setattr("library.caching.cache_folder.tempfile.TemporaryFile", refuse)
    vae = StandInVae()
    with pytest.raises(UserError, match=r"cannot be written: Permission denied in cache é; .*--cache_dir"):
        encode(cache, pictures_in(folder), vae)
    assert vae.calls == []


@pytest.mark.parametrize(("free", "suffices"), [(COUNT * 512 - 1, False), (COUNT * 512, True)])
def test_too_little_room_is_known_before_anything_is_encoded(folder, cache, monkeypatch, free, suffices):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9 - free, free))
    vae = StandInVae()
    if suffices:
        encode(cache, pictures_in(folder), vae)
        return
    with pytest.raises(UserError, match=r"KiB are free; make room or choose another folder with --cache_dir"):
        encode(cache, pictures_in(folder), vae)
    assert vae.calls == []
    assert files_in(cache) == []


def test_a_disk_that_becomes_full_is_reported_and_keeps_what_is_complete(folder, cache, monkeypatch):
    write, written = packed_files.save, []

    def fail_at_the_second(*arguments):
        written.append(arguments)
        if len(written) > 1:
            raise OSError(28, "No space left on device")
        return write(*arguments)

    with monkeypatch.context() as full, pytest.raises(UserError, match=r"cannot be written: No space left on device"):
        full.setattr(packed_files, "save", fail_at_the_second)
        encode(cache, pictures_in(folder), limits=LITTLE)
    assert [path.name for path in cache.iterdir()] == [file.name for file in files_in(cache)]
    assert len(entries_in(cache)) == 4
    pictures = pictures_in(folder)
    latents, vae = encode(cache, pictures)
    assert vae.encoded == COUNT - 4
    assert_holds(latents, pictures)


def test_what_goes_wrong_while_writing_is_raised(folder, cache, monkeypatch):
    def fail(*arguments):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(pack_writing, "write_packed", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        encode(cache, pictures_in(folder))


def test_a_disk_that_loses_what_is_written_is_reported(folder, cache, monkeypatch):
    monkeypatch.setattr(pack_writing, "write_packed", lambda *arguments: None)
    with pytest.raises(UserError, match="just written are not there"):
        encode(cache, pictures_in(folder))


# ---- images that cannot be used


def test_unusable_images_are_named_and_never_written(folder, cache, caplog):
    paint_one_colour(folder / "red.png", TOO_RED)
    paint_one_colour(folder / "white.png", TOO_BRIGHT)
    (folder / "03.png").write_bytes((folder / "03.png").read_bytes()[:200])
    pictures = pictures_in(folder)
    (folder / "05.png").unlink()
    for _ in range(2):
        caplog.clear()
        latents, _ = encode(cache, pictures, encoder={"tolerates_unusable": True})
        missing = fetch(latents, pictures).missing
        assert [pictures[row].record.name for row in missing] == ["03.png", "05.png", "red.png", "white.png"]
        (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
        assert "encoding failed: 4 images: " in warning
        assert all(name in warning for name in ("03.png", "05.png", "red.png", "white.png"))
    assert len(entries_in(cache)) == COUNT - 2
    with pytest.raises(UserError, match=r"image '.*05\.png'"):
        encode(cache, pictures)


def test_an_image_that_is_replaced_while_others_are_encoded_spoils_nothing(folder, cache):
    """Its latents would be found under the name of its old content ever after."""
    pictures = pictures_in(folder)
    encoder = encoder_of(StandInVae(), dtype=DTYPE, tolerates_unusable=True)
    fingerprints = fingerprints_of(encoder, pictures)
    original = (folder / "03.png").read_bytes()
    paint(folder / "03.png", seed=99)
    latents = encode_on_disk(encoder, pictures, fingerprints, cache)
    assert [pictures[row].record.name for row in fetch(latents, pictures).missing] == ["03.png"]
    (folder / "03.png").write_bytes(original)
    latents, vae = encode(cache, pictures)
    assert vae.encoded == 1
    assert_holds(latents, pictures)


# ---- several processes, and their ends

FORK = multiprocessing.get_context("fork")


def _build(cache, pictures, processes, results, seconds_each=0.0):
    torch.set_num_threads(1)  # the threads that the test process may have started did not come along
    latents, vae = encode(
        cache, pictures, StandInVae(seconds_each), limits=PackLimits(seconds=0.03), processes=processes
    )
    results.put((processes.index, vae.encoded, fetch(latents, pictures).missing))


def run_processes(arguments):
    """Builds in processes of their own; returns what they say, by index."""
    results = FORK.Queue()
    processes = [FORK.Process(target=_build, args=(*each, results)) for each in arguments]
    for process in processes:
        process.start()
    said = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    return said


@pytest.mark.parametrize("already_there", [0, 5])
def test_processes_of_a_run_share_the_work(folder, cache, already_there):
    pictures = pictures_in(folder)
    if already_there:
        encode(cache, pictures[:already_there])
    barrier = FORK.Barrier(3)
    said = run_processes([(cache, pictures, Processes(index, 3, barrier.wait)) for index in range(3)])
    assert sum(encoded for _, encoded, _ in said) == COUNT - already_there
    assert all(0 < encoded <= 4 for _, encoded, _ in said)
    assert [missing for _, _, missing in said] == [(), (), ()]
    latents, vae = encode(cache, pictures)
    assert vae.calls == []
    assert_holds(latents, pictures)


def test_processes_that_see_different_disks_encode_everything_themselves(folder, tmp_path):
    pictures, barrier = pictures_in(folder), FORK.Barrier(2)
    said = run_processes(
        [(tmp_path / f"machine {index}", pictures, Processes(index, 2, barrier.wait)) for index in range(2)]
    )
    assert said == [(0, COUNT, ()), (1, COUNT, ())]


def test_two_runs_at_once_do_not_disturb_each_other(folder, cache):
    pictures = pictures_in(folder)
    said = run_processes([(cache, pictures, Processes()) for _ in range(2)])
    assert [missing for _, _, missing in said] == [(), ()]
    latents, vae = encode(cache, pictures)
    assert vae.calls == []
    assert_holds(latents, pictures)


def test_killed_at_random_moments(tmp_path, cache):
    """Nothing complete is lost or encoded again, nothing incomplete is used."""
    folder = tmp_path / "images"
    for number in range(120):
        paint(folder / f"{number:03}.png", number)
    pictures, rng = pictures_in(folder), random.Random(4)
    finished, kills = set(), 0
    while kills < 10:
        builder = FORK.Process(
            target=_build, args=(cache, pictures[: 12 * (kills + 1)], Processes(), FORK.Queue(), 0.01)
        )
        builder.start()
        time.sleep(rng.uniform(0.02, 0.3))
        os.kill(builder.pid, signal.SIGKILL)
        builder.join()
        kills += 1
        assert finished <= entries_in(cache)
        finished = entries_in(cache)
    assert 0 < len(finished) < 120
    latents, vae = encode(cache, pictures)
    assert vae.encoded == 120 - len(finished)
    assert_holds(latents, pictures)


def test_a_folder_that_is_gone_while_looking_is_no_damage(cache, caplog):
    """As when another process was quicker to remove a damaged file."""
    cache.mkdir()
    (cache / "latents-gone.safetensors").symlink_to(cache / "nothing")
    assert CacheFolder(cache, KIND).new_files(lambda file: True) == []
    assert caplog.text == ""
