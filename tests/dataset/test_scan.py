"""What a look at names, headers and captions finds, and how it says so."""

from pathlib import Path

import pytest
from PIL import Image

from library.dataset.findings import Findings
from library.dataset.folder_convention import find_folders
from library.dataset.scan import scan_dataset
from library.options.dataset_settings import DatasetSettings, SubsetSettings


def make_images(folder: Path, *names: str, size=(64, 64)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", size).save(folder / name)
    return folder


def scan(*subsets: SubsetSettings, **settings):
    findings = Findings()
    values = {"resolution": (64, 64), **settings}
    return scan_dataset(0, DatasetSettings(subsets=subsets, **values), findings), findings


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


def test_missing_captions_and_the_file_type_that_is_there(tmp_path):
    folder = make_images(tmp_path, "a.png", "b.png", "c.png")
    (folder / "a.txt").write_text("x")
    settings = SubsetSettings(image_dir=folder, caption_extension=".caption", class_tokens="sks dog")
    dataset, findings = scan(settings)
    assert {record.caption for record in dataset.records} == {"sks dog"}
    (warning,) = findings.warnings
    assert "3 of 3 images" in warning
    assert "'sks dog' is used instead" in warning
    assert "--caption_extension .txt" in warning


def test_without_caption_and_class_the_caption_is_empty(tmp_path):
    dataset, findings = scan(subset(make_images(tmp_path, "a.png")))
    assert dataset.records[0].caption == ""
    assert "trained with an empty caption" in findings.warnings[0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf16_with_a_mark_is_read_with_a_warning(tmp_path, encoding):
    folder = make_images(tmp_path, "a.png")
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    (folder / "a.txt").write_bytes(mark + "grüner Hut".encode(encoding))
    dataset, findings = scan(subset(folder))
    assert dataset.records[0].caption == "grüner Hut"
    assert "not UTF-8: a.txt" in findings.warnings[0]


@pytest.mark.parametrize("encoding", ["cp1251", "shift_jis", "latin-1"])
def test_other_encodings_are_refused_by_name(tmp_path, encoding):
    text = {"cp1251": "зелёная шляпа", "shift_jis": "帽子", "latin-1": "grüner Hut"}[encoding]
    folder = make_images(tmp_path, "a.png")
    (folder / "a.txt").write_bytes(text.encode(encoding))
    _, findings = scan(subset(folder))
    (problem,) = findings.problems
    assert str(folder / "a.txt") in problem
    assert "save it again as UTF-8" in problem


def test_every_bad_file_is_named(tmp_path):
    folder = make_images(tmp_path, "good.png")
    (folder / "bad.png").write_bytes((folder / "good.png").read_bytes()[:60])
    (folder / "text.jpg").write_text("hello")
    dataset, findings = scan(subset(folder, class_tokens="x"))
    assert [record.name for record in dataset.records] == ["good.png"]
    assert len(findings.problems) == 2
    assert "bad.png" in findings.problems[0]
    assert "text.jpg" in findings.problems[1]
    assert all("replace or remove it" in problem for problem in findings.problems)


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
    assert any("1 of 3 regularisation images are not used" in warning for warning in findings.warnings)


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


def test_a_folder_without_repeats_does_not_displace_the_same_folder_with_some(tmp_path):
    folder = make_images(tmp_path, "a.png")
    dataset, _ = scan(subset(folder, num_repeats=0), subset(folder, num_repeats=2))
    assert [(record.image_id, record.repeats) for record in dataset.records] == [("0/1/a.png", 2)]


def test_lines_end_where_text_files_end_them(tmp_path):
    texts = {
        "a": "one\u2028two\u0085three\x0cfour, five",
        "b": "windows\r\nmore",
        "c": "old mac\rmore",
        "d": "unix\n\n \n",
        "e": "\nbelow a blank line",
        "f": "",
    }
    folder = make_images(tmp_path, *(f"{name}.png" for name in texts))
    for name, text in texts.items():
        (folder / f"{name}.txt").write_bytes(text.encode())
    dataset, findings = scan(subset(folder))
    assert [record.caption for record in dataset.records] == [texts["a"], "windows", "old mac", "unix", "", ""]
    assert findings.warnings == [
        f"2 of 6 caption files in '{folder}' have an empty first line, so that their images are trained with an empty "
        "caption: e.txt, f.txt",
        f"3 of 6 caption files in '{folder}' hold more than one line, of which only the first is used: b.txt, c.txt, "
        "e.txt",
    ]


def test_pictures_in_other_formats_are_counted(tmp_path):
    folder = make_images(tmp_path, "a.png", "b.gif", "c.TIFF", "d.tiff")
    dataset, findings = scan(subset(folder, class_tokens="x"))
    assert [record.name for record in dataset.records] == ["a.png"]
    assert "cannot be read: 1 .gif, 2 .tiff; save them as .png" in findings.warnings[0]


def test_a_folder_with_both_kinds_of_caption_files(tmp_path):
    folder = make_images(tmp_path, "a.png", "b.png", "c.png")
    (folder / "a.txt").write_text("x")
    (folder / "c.caption").write_text("y")
    _, findings = scan(subset(folder))
    (warning,) = findings.warnings
    assert "2 of 3 images" in warning
    assert "1 of them have a .caption file" in warning


def test_all_lines_are_kept_where_one_is_chosen_each_time(tmp_path):
    folder = make_images(tmp_path, "a.png", "b.png")
    (folder / "a.txt").write_bytes(b"\n one \r\n\r\ntwo\n")
    (folder / "b.txt").write_bytes(b"\n\n")
    dataset, findings = scan(subset(folder, enable_wildcard=True))
    assert [record.caption for record in dataset.records] == ["one\ntwo", ""]
    (warning,) = findings.warnings
    assert warning.startswith(f"1 of 2 caption files in '{folder}' have an empty first line")
