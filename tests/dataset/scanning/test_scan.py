"""What a look at names, headers and captions finds, and how it says so."""

import os
from pathlib import Path

import pytest
from PIL import Image

from library.dataset.findings import Findings
from library.dataset.images import image_files
from library.dataset.scanning.folder_convention import find_folders
from library.dataset.scanning.regularisation import balance_regularisation
from library.dataset.scanning.scan import scan_dataset
from library.options.dataset_settings import DatasetSettings, SubsetSettings


def make_images(folder: Path, *names: str, size=(64, 64)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", size).save(folder / name)
    return folder


def scan(*subsets: SubsetSettings, **settings):
    findings = Findings()
    values = {"resolution": (64, 64), **settings}
    dataset = scan_dataset(0, DatasetSettings(subsets=subsets, **values), findings)
    return balance_regularisation(dataset, findings), findings


def subset(folder: Path, **values) -> SubsetSettings:
    return SubsetSettings(image_dir=folder, caption_extension=".txt", **values)


def test_a_record_knows_everything(tmp_path):
    folder = make_images(tmp_path / "日本語 set", "a.png", size=(130, 64))
    (folder / "a.txt").write_text("\ufeff a caption \n", encoding="utf-8")
    dataset, findings = scan(subset(folder, num_repeats=3), enable_bucket=True, min_bucket_reso=64, max_bucket_reso=128)
    (record,) = dataset.records
    assert (record.image_id, record.size, record.caption, record.repeats) == ("0/0/a.png", (130, 64), "a caption", 3)
    assert record.placement.bucket == (64, 64)
    assert findings == Findings()


def test_every_bad_file_is_named(tmp_path):
    folder = make_images(tmp_path, "good.png")
    (folder / "bad.png").write_bytes((folder / "good.png").read_bytes()[:60])
    (folder / "text.jpg").write_text("hello")
    dataset, findings = scan(subset(folder, class_tokens="x"))
    assert [record.name for record in dataset.records] == ["good.png"]
    assert not findings.problems
    (warning,) = [text for text in findings.warnings if "left out" in text]
    assert warning.startswith(f"unusable, and so left out: 2 of 3 images in '{folder}':\n")
    assert "the file is cut short or damaged: bad.png" in warning
    assert "it is not an image, or of a kind that cannot be read: text.jpg" in warning
    assert [skipped.path.name for skipped in findings.skipped] == ["bad.png", "text.jpg"]


def test_missing_and_empty_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    _, findings = scan(subset(tmp_path / "gone"), subset(tmp_path / "empty"))
    assert "gone" in findings.problems[0]
    assert "holds no images" in findings.problems[1]


def test_images_smaller_than_a_step_are_left_out_by_name(tmp_path):
    folder = make_images(tmp_path, "small.png", size=(40, 300))
    make_images(folder, "large.png", size=(100, 100))
    dataset, findings = scan(subset(folder, class_tokens="x"), enable_bucket=True, bucket_no_upscale=True)
    assert [record.name for record in dataset.records] == ["large.png"]
    assert any("small.png" in warning and "bucket_reso_steps" in warning for warning in findings.warnings)
    assert findings.problems == []


def test_when_all_images_are_too_small_there_is_a_problem(tmp_path):
    folder = make_images(tmp_path, "small.png", size=(40, 300))
    dataset, findings = scan(subset(folder, class_tokens="x"), enable_bucket=True, bucket_no_upscale=True)
    assert dataset.records == ()
    assert "no image is left" in findings.problems[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_bucket_reso": 128}, "min_bucket_reso 128 must not exceed"),
        ({"max_bucket_reso": 64, "resolution": (128, 128)}, "max_bucket_reso 64 must not be below"),
        ({"bucket_reso_steps": 128, "min_bucket_reso": 64}, "bucket_reso_steps 128 is larger"),
    ],
)
def test_contradicting_sizes(tmp_path, settings, message):
    folder = make_images(tmp_path, "a.png")
    values = {"enable_bucket": True, "min_bucket_reso": 64, "max_bucket_reso": 128, **settings}
    _, findings = scan(subset(folder, class_tokens="x"), **values)
    assert any(message in problem for problem in findings.problems)


def test_unused_regularisation_images_have_no_repeats(tmp_path):
    training = make_images(tmp_path / "train", "a.png", "b.png")
    regularisation = make_images(tmp_path / "reg", "c.png", "d.png", "e.png")
    dataset, findings = scan(subset(training, class_tokens="x"), subset(regularisation, class_tokens="y", is_reg=True))
    assert [(record.name, record.repeats) for record in dataset.records if record.is_reg] == [
        ("c.png", 1),
        ("d.png", 1),
        ("e.png", 0),
    ]
    assert findings.warnings[-1] == (
        "not used, as not needed beside 2 training images (with repeats): 1 of 3 regularisation images"
    )


def test_a_subset_without_repeats_is_left_out_with_a_warning(tmp_path):
    dataset, findings = scan(subset(make_images(tmp_path, "a.png"), num_repeats=0))
    assert dataset.records == ()
    assert "it has 0 repeats (num_repeats)" in findings.warnings[0]


def test_a_folder_named_with_0_repeats_is_said_to_have_none(tmp_path):
    for name in ("0_off", "2_on", "plain", "-1_x", ".cache"):
        make_images(tmp_path / name, "a.png")
    found = find_folders(tmp_path, is_reg=False)
    assert [folder.name for folder in found.ignored] == ["-1_x", "plain"]
    dataset, findings = scan(*(SubsetSettings(**values) for values in found.subsets))
    assert [(record.path.parent.name, record.repeats) for record in dataset.records] == [("2_on", 2)]
    assert f"'{tmp_path / '0_off'}' is not used: it has 0 repeats (num_repeats)" in findings.warnings


def test_a_folder_that_is_listed_twice_is_used_once(tmp_path):
    folder, other = make_images(tmp_path / "a", "a.png"), make_images(tmp_path / "b", "b.png")
    folders = (folder, other, folder)
    subsets = [subset(path, class_tokens="x", num_repeats=number) for number, path in enumerate(folders, 1)]
    dataset, findings = scan(*subsets)
    assert [(record.image_id, record.repeats) for record in dataset.records] == [("0/0/a.png", 1), ("0/1/b.png", 2)]
    (warning,) = [warning for warning in findings.warnings if "another subset" in warning]
    assert f"'{folder}'" in warning
    assert "subset 3 is left out" in warning


def test_other_ways_to_write_a_folder_are_the_same_folder(tmp_path, monkeypatch):
    folder = make_images(tmp_path / "a", "a.png")
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    paths = (folder, tmp_path / "link", Path("a"), Path("./link/../a/"))
    dataset, findings = scan(*(subset(path, class_tokens="x") for path in paths))
    assert [record.image_id for record in dataset.records] == ["0/0/a.png"]
    assert sum("another subset" in warning for warning in findings.warnings) == 3


def test_a_link_to_itself_is_a_problem_that_names_it(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    _, findings = scan(subset(tmp_path / "loop"))
    assert findings.problems == [f"image folder '{tmp_path / 'loop'}': Too many levels of symbolic links"]
    images = make_images(tmp_path / "images", "a.png")
    (images / "b.png").symlink_to(images / "b.png")
    dataset, findings = scan(subset(images, class_tokens="x", recursive=True))
    assert [record.name for record in dataset.records] == ["a.png"]
    assert [(one.path.name, one.reason) for one in findings.skipped] == [("b.png", "Too many levels of symbolic links")]


def test_a_folder_inside_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    make_images(tmp_path / "open" / "closed", "a.png")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    _, findings = scan(subset(tmp_path / "open", recursive=True))
    closed = tmp_path / "open" / "closed"
    assert findings.problems == [f"image folder '{tmp_path / 'open'}': '{closed}' in it: Permission denied"]


def test_folders_that_two_subsets_search_are_told(tmp_path):
    outer = make_images(tmp_path / "data", "a.png")
    inner = make_images(outer / "reg", "b.png")
    make_images(tmp_path / "data 2", "c.png")
    (tmp_path / "link").symlink_to(inner)
    others = (inner, tmp_path / "link", tmp_path / "data 2")
    subsets = [subset(path, class_tokens="x", is_reg=True) for path in others]
    _, findings = scan(subset(outer, class_tokens="x", recursive=True), *subsets)
    assert [text for text in findings.warnings if "both subsets" in text] == [
        f"'{inner}' lies in '{outer}', which is searched with recursive: both subsets use its images"
    ]
    _, findings = scan(subset(outer, class_tokens="x"), *subsets)
    assert not any("both subsets" in text for text in findings.warnings)


def test_without_buckets_images_of_any_size_are_covered(tmp_path):
    folder = make_images(tmp_path, "wide.png", size=(300, 40))
    make_images(folder, "small.png", size=(9, 9))
    dataset, findings = scan(subset(folder, class_tokens="x"))
    assert [(record.name, record.placement.bucket, record.placement.resized) for record in dataset.records] == [
        ("small.png", (64, 64), (64, 64)),
        ("wide.png", (64, 64), (480, 64)),
    ]
    assert findings.problems == []


def test_a_metadata_file_is_used_once_and_a_folder_once_with_each_folder_of_masks(tmp_path):
    folder = make_images(tmp_path / "a", "a.png")
    masks, others = make_images(tmp_path / "masks", "a.png"), make_images(tmp_path / "others", "a.png")
    file = tmp_path / "m.json"
    file.write_text('{"a.png": {"caption": "x"}}')
    listed = [SubsetSettings(metadata_file=path, image_dir=folder) for path in (file, tmp_path / "a" / ".." / "m.json")]
    dataset, findings = scan(*listed)
    assert [record.image_id for record in dataset.records] == ["0/0/a.png"]
    (warning,) = findings.warnings
    assert "m.json' is used by another subset of the same dataset already: subset 2 is left out" in warning
    masked = [subset(folder, class_tokens="x", conditioning_data_dir=path) for path in (masks, others, masks, None)]
    dataset, _ = scan(*masked)
    assert [record.image_id for record in dataset.records] == ["0/0/a.png", "0/1/a.png", "0/3/a.png"]


def test_sub_folders_are_searched_if_that_is_asked_for(tmp_path):
    folder = make_images(tmp_path / "ü", "b.png")
    for name in ("c", "a/x", ".cache", "a/.hidden"):
        make_images(folder / name, "i.PNG")
        (folder / name / "i.txt").write_text(name)
    (folder / "a" / "round").symlink_to(folder)
    dataset, _ = scan(subset(folder, recursive=True, class_tokens="top"))
    assert [(record.name, record.caption) for record in dataset.records] == [
        ("a/x/i.PNG", "a/x"),
        ("b.png", "top"),
        ("c/i.PNG", "c"),
    ]
    dataset, _ = scan(subset(folder, class_tokens="top"))
    assert [record.name for record in dataset.records] == ["b.png"]


def test_a_folder_of_folders_only(tmp_path):
    make_images(tmp_path / "inside", "a.png")
    _, findings = scan(subset(tmp_path))
    assert any("folders inside it are only searched with --recursive" in problem for problem in findings.problems)
    dataset, findings = scan(subset(tmp_path, recursive=True, class_tokens="x"))
    assert [record.name for record in dataset.records] == ["inside/a.png"]
    assert findings.problems == []


def test_a_folder_without_repeats_does_not_displace_the_same_folder_with_some(tmp_path):
    folder = make_images(tmp_path, "a.png")
    dataset, _ = scan(subset(folder, num_repeats=0), subset(folder, num_repeats=2))
    assert [(record.image_id, record.repeats) for record in dataset.records] == [("0/1/a.png", 2)]


def test_pictures_in_other_formats_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "MISSING_PLUG_INS", {".jxl": "plug-in-a", ".heic": "plug-in-b"})
    folder = make_images(tmp_path, "a.png", "b.gif")
    for name in ("c.jxl", "d.JXL", "e.heic"):
        (folder / name).write_bytes(b"")
    dataset, findings = scan(subset(folder, class_tokens="x"))
    assert [record.name for record in dataset.records] == ["a.png", "b.gif"]
    assert findings.warnings[0] == (
        f"not used, since the format cannot be read: 1 .heic file, 2 .jxl files in '{folder}'; install what reads it "
        "(pip install plug-in-a plug-in-b), or save as .png"
    )
