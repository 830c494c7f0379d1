"""What stands for the content of images: found out once by all processes, and never that of another content."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from library.caching.latents_on_disk import fingerprints_of
from library.dataset.images import image_index
from library.dataset.images.image_index import ImageIndex
from library.dataset.images.picture_files import FilePictures
from library.errors import UserError
from tests.caching.meeting import Meeting
from tests.caching.stand_in_vae import StandInVae, encode, encoder_of, fetch, paint, pictures_in

COUNT = 7


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "Bilder für alle"
    for number in range(COUNT):
        paint(folder / f"{number}.png", number)
    return folder


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files that were read for their content."""
    names = []
    original = image_index._hash
    monkeypatch.setattr(image_index, "_hash", lambda path: names.append(path.name) or original(path))
    return names


def by_processes(count, run):
    """What `run` gives for each of the processes of a run."""
    meeting = Meeting(count)
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda index: run(meeting.processes(index)), range(count)))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_processes_share_the_work_now_and_in_the_next_run(folder, tmp_path, hashed, count):
    pictures = pictures_in(folder, flip_aug=True)
    alone = fingerprints_of(encoder_of(StandInVae()), pictures)
    hashed.clear()

    def run(processes):
        reader = FilePictures(ImageIndex(tmp_path / "cache"))
        found = fingerprints_of(encoder_of(StandInVae(), reader=reader), pictures, processes)
        processes.in_turn(reader.keep_facts)
        return found

    assert by_processes(count, run) == [alone] * count
    assert sorted(hashed) == [f"{number}.png" for number in range(COUNT)]
    assert by_processes(count, run) == [alone] * count
    assert len(hashed) == COUNT, "each process wrote down its part"


def test_what_one_process_cannot_read_all_know(folder):
    pictures = pictures_in(folder)
    (folder / "3.png").unlink()

    def run(processes):
        return fingerprints_of(encoder_of(StandInVae(), tolerates_unusable=True), pictures, processes)

    for found in by_processes(2, run):
        assert [image_id for image_id, one in found.items() if not isinstance(one, str)] == ["0/0/3.png"]

    def insist(processes):
        with pytest.raises(UserError, match=r"image '.*3\.png'"):
            fingerprints_of(encoder_of(StandInVae()), pictures, processes)

    by_processes(2, insist)


@pytest.mark.parametrize("edited", ["image", "mask"])
def test_what_is_trusted_without_a_look_is_never_kept_under_the_name_of_its_old_content(tmp_path, folder, edited):
    """As after --skip_cache_check at another resolution; the old image may come back."""
    masks, cache = tmp_path / "masks", tmp_path / "cache"
    for number in range(COUNT):
        paint(masks / f"{number}.png", 100 + number)
    index = ImageIndex(cache)
    encode(cache, pictures_in(folder, masks=masks), encoder={"reader": FilePictures(index)})
    index.save()
    path = {"image": folder, "mask": masks}[edited] / "3.png"
    original = path.read_bytes()
    paint(path, seed=99)
    os.utime(path, (1, 1))

    small = pictures_in(folder, masks=masks, bucket=(32, 32))
    trusting = {"reader": FilePictures(ImageIndex(cache, trusts_files=True))}
    with pytest.raises(UserError, match=r"3\.png': it has changed since it was .*leave out --skip_cache_check"):
        encode(cache, small, encoder=trusting, is_trusted=True)
    trusting = {"reader": FilePictures(ImageIndex(cache, trusts_files=True)), "tolerates_unusable": True}
    latents, _ = encode(cache, small, encoder=trusting, is_trusted=True)
    assert fetch(latents, small).missing == (3,)

    path.write_bytes(original)
    _, vae = encode(cache, small)
    assert vae.encoded == 1
