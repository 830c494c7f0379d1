"""What is remembered of image files, and when it is not to be trusted."""

import json
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from library.dataset.images import image_index
from library.dataset.images.image_files import UnreadableImageError
from library.dataset.images.image_headers import ImageHeader
from library.dataset.images.image_index import ImageIndex


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that were really read, for their headers and for their contents."""
    names = []
    for function in ("read_image_header", "_hash"):
        original = getattr(image_index, function)
        monkeypatch.setattr(
            image_index, function, lambda path, original=original: names.append(path.name) or original(path)
        )
    return names


def make(path, size=(3, 2), colour=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, "PNG")
    return path


def test_each_file_is_read_once(tmp_path, reads):
    path = make(tmp_path / "bild ä.png")
    index = ImageIndex()
    assert [index.header(path) for _ in range(2)] == [ImageHeader((3, 2), transparent=False, several=False)] * 2
    assert reads == ["bild ä.png"]
    assert index.content(path) == index.content(path)
    assert reads == ["bild ä.png"] * 2


def test_contents_are_the_same_for_the_same_bytes_only(tmp_path):
    index = ImageIndex()
    first, renamed, other = make(tmp_path / "a.png"), make(tmp_path / "b.jpg"), make(tmp_path / "c.png", colour=1)
    assert index.content(first) == index.content(renamed) != index.content(other)
    assert len(index.content(first)) == 40


def test_a_changed_file_is_read_again(tmp_path):
    path = make(tmp_path / "a.png")
    index = ImageIndex()
    before = index.content(path), index.header(path).size
    stat = path.stat()
    make(path, size=(2, 3), colour=255)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert index.header(path).size == (2, 3)
    assert before == (before[0], (3, 2))
    assert index.content(path) != before[0]


def test_another_size_is_a_change_whatever_the_time(tmp_path):
    path = make(tmp_path / "a.png")
    stat = path.stat()
    index = ImageIndex()
    before = index.content(path)
    path.write_bytes(path.read_bytes() + b"x")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert index.content(path) != before


def test_a_second_run_reads_nothing(tmp_path, reads):
    paths = [make(tmp_path / "images" / f"{number}.png", colour=number) for number in range(4)]
    first = ImageIndex(tmp_path / "images" / ".cache")
    known = [(first.header(path), first.content(path)) for path in paths]
    first.save()
    reads.clear()
    second = ImageIndex(tmp_path / "images" / ".cache")
    assert [(second.header(path), second.content(path)) for path in paths] == known
    assert reads == []


def test_a_folder_that_moves_with_its_cache_stays_known(tmp_path, reads):
    path = make(tmp_path / "here" / "images" / "a.png")
    index = ImageIndex(tmp_path / "here" / "images" / ".cache")
    content = index.content(path)
    index.save()
    shutil.move(tmp_path / "here", tmp_path / "thère")
    reads.clear()
    moved = tmp_path / "thère" / "images"
    assert ImageIndex(moved / ".cache").content(moved / "a.png") == content
    assert reads == []


def test_relative_and_absolute_paths_are_the_same(tmp_path, monkeypatch, reads):
    make(tmp_path / "images" / "a.png")
    monkeypatch.chdir(tmp_path)
    index = ImageIndex(tmp_path / "cache")
    index.header(tmp_path / "images" / "a.png")
    reads.clear()
    index.header((tmp_path / "images" / "a.png").relative_to(tmp_path))
    assert reads == []


def test_trusted_files_are_not_looked_at(tmp_path):
    path = make(tmp_path / "a.png")
    new = make(tmp_path / "new.png", size=(9, 9))
    index = ImageIndex(tmp_path / ".cache")
    content = index.content(path)
    index.header(path)
    index.save()
    path.unlink()
    trusting = ImageIndex(tmp_path / ".cache", trusts_files=True)
    assert trusting.header(path).size == (3, 2)
    assert trusting.content(path) == content
    assert trusting.header(new).size == (9, 9)
    with pytest.raises(UnreadableImageError, match="No such file"):
        ImageIndex(tmp_path / ".cache").header(path)


def test_a_look_again_sees_what_changed_in_trusted_files(tmp_path):
    path = make(tmp_path / "a.png")
    index = ImageIndex(tmp_path / ".cache")
    content = index.content(path)
    index.save()
    make(path, size=(5, 5))
    trusting = ImageIndex(tmp_path / ".cache", trusts_files=True)
    assert trusting.content(path) == content
    assert trusting.content(path, looks_again=True) == ImageIndex().content(path) != content


def test_two_runs_add_to_each_other(tmp_path, reads):
    paths = [make(tmp_path / f"{number}.png", colour=number) for number in range(3)]
    runs = [ImageIndex(tmp_path / ".cache") for _ in range(2)]
    runs[0].content(paths[0])
    runs[1].content(paths[1])
    runs[0].header(paths[2])
    for run in runs:
        run.save()
    reads.clear()
    third = ImageIndex(tmp_path / ".cache")
    third.content(paths[0]), third.content(paths[1]), third.header(paths[2])
    assert reads == []


def test_files_that_are_gone_are_forgotten(tmp_path):
    paths = [make(tmp_path / name) for name in ("a.png", "b.png")]
    index = ImageIndex(tmp_path / ".cache")
    for path in paths:
        index.header(path)
    index.save()
    paths[0].unlink()
    index = ImageIndex(tmp_path / ".cache")
    index.content(paths[1])
    index.save()
    stored = json.loads((tmp_path / ".cache" / "images.json").read_text(encoding="utf-8"))["images"]
    assert list(stored) == ["../b.png"]
    assert set(stored["../b.png"]) == {"bytes", "mtime_ns", "size", "transparent", "several", "content"}


def test_files_stay_known_where_the_cache_folder_is_a_link(tmp_path, reads):
    paths = [make(tmp_path / "images" / name) for name in ("a.png", "b.png")]
    (tmp_path / "another" / "disk" / "cache").mkdir(parents=True)
    cache = tmp_path / "cache"
    cache.symlink_to(tmp_path / "another" / "disk" / "cache")
    for path in paths:
        index = ImageIndex(cache)
        index.content(path)
        index.save()
    reads.clear()
    index = ImageIndex(cache)
    assert index.content(paths[0]) == index.content(paths[1])
    assert reads == []


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"version": 1}', b'{"version": 1, "images": 3}',
        b'{"version": 1, "images": {"../a.png": {"bytes": 3}}}',
        b'{"version": 1, "images": {"../a.png": {"bytes": 1, "mtime_ns": 2, "size": [1]}}}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_made_anew(tmp_path, caplog, content):
    path = make(tmp_path / "a.png")
    file = tmp_path / ".cache" / "images.json"
    file.parent.mkdir()
    file.write_bytes(content)
    index = ImageIndex(file.parent)
    assert [record.message for record in caplog.records] == [
        f"'{file}' cannot be used, since it is damaged or cannot be read; it is made anew"
    ]
    assert index.header(path).size == (3, 2)
    caplog.clear()
    index.save()
    assert not caplog.records
    assert ImageIndex(file.parent).header(path).size == (3, 2)
    assert not caplog.records


def test_the_file_of_another_version_is_replaced_in_silence(tmp_path, caplog):
    file = tmp_path / ".cache" / "images.json"
    file.parent.mkdir()
    file.write_text('{"version": 99, "pictures": []}', encoding="utf-8")
    index = ImageIndex(file.parent)
    index.header(make(tmp_path / "a.png"))
    index.save()
    assert json.loads(file.read_text(encoding="utf-8"))["version"] == image_index.VERSION
    assert not caplog.records


def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    index = ImageIndex(tmp_path / "file")
    index.header(make(tmp_path / "a.png"))
    index.save()
    index.save()
    (record,) = [record for record in caplog.records if "cannot be written" in record.message]
    assert "give --cache_dir a folder that can be written" in record.message


def test_nothing_is_written_without_need(tmp_path):
    ImageIndex(tmp_path / ".cache").save()
    assert not (tmp_path / ".cache").exists()
    index = ImageIndex()
    index.header(make(tmp_path / "a.png"))
    index.save()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_failures_are_not_remembered(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    index = ImageIndex(tmp_path / ".cache")
    for _ in range(2):
        with pytest.raises(UnreadableImageError, match="empty"):
            index.header(path)
    index.save()
    assert not (tmp_path / ".cache").exists()


def test_many_threads_and_other_processes(tmp_path):
    paths = [make(tmp_path / f"{number}.png", colour=number) for number in range(20)]
    index = ImageIndex(tmp_path / ".cache")
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(index.content, paths * 5))
        assert list(pool.map(index.header, paths * 5)) == [ImageHeader((3, 2), False, False)] * 100
    assert contents == contents[:20] * 5
    assert len(set(contents)) == 20
    assert pickle.loads(pickle.dumps(index)).content(paths[0]) == contents[0]


def test_a_name_that_begins_like_another_is_another_image(tmp_path):
    paths = [make(tmp_path / f"img{number}.png", size=(number, 7)) for number in (10, 1, 100)]
    index = ImageIndex(tmp_path / ".cache")
    for path in (paths[0], paths[2]):
        index.header(path)
    index.save()
    again = ImageIndex(tmp_path / ".cache", trusts_files=True)
    assert [again.header(path).size for path in paths] == [(10, 7), (1, 7), (100, 7)]


def test_names_that_are_no_text(tmp_path):
    """Names in another encoding, as old archives leave them behind."""
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    try:
        make(path)
    except OSError:
        pytest.skip("this file system has no such names")
    index = ImageIndex(tmp_path / ".cache")
    content = index.content(path)
    index.save()
    assert ImageIndex(tmp_path / ".cache", trusts_files=True).content(path) == content
