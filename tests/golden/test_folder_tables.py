"""folders.json: folder names, caption files, regularisation images."""

from pathlib import Path

import pytest
from PIL import Image

from library.dataset.findings import Findings
from library.dataset.scanning.folder_convention import parse_folder_name
from library.dataset.scanning.regularisation import regularisation_repeats
from library.dataset.scanning.scan import scan_dataset
from library.dataset.scanning.validation_split import num_held_out
from library.metadata.dataset_metadata import tag_frequency
from library.options.dataset_settings import DatasetSettings, SubsetSettings
from library.options.schema import all_options
from tests.golden.tables import numbered, table

FOLDERS = table("folders")


@pytest.mark.parametrize(("name", "case"), numbered(FOLDERS["folder_names"], "name"))
def test_folder_name(name, case):
    parsed = parse_folder_name(name)
    used = parsed is not None and parsed.num_repeats >= 1
    found = {"num_repeats": parsed.num_repeats, "class_tokens": parsed.class_tokens} if used else None
    assert found == case["result"]


def scan_files(folder: Path, files, options):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_text(text, encoding="utf-8")
        elif path.suffix.lower() != ".gif":
            Image.new("RGB", (64, 64)).save(path)
    values = {"caption_extension": ".caption", **options}  # the reference's default; here, .txt is then found, too
    values["caption_extension"] = all_options()["caption_extension"].parse_text(values["caption_extension"])
    subset = SubsetSettings(image_dir=folder, **values)
    findings = Findings()
    dataset = scan_dataset(0, DatasetSettings(resolution=(64, 64), subsets=(subset,)), findings)
    assert findings.problems == []
    return dataset


def available(case) -> bool:
    """Whether all options that the case uses exist already."""
    options = all_options()
    return not any(options[key].traits.pending for key in case["options"] if key in options)


LOOKUPS = [(name, case) for name, case in numbered(FOLDERS["caption_lookup"]) if available(case)]


@pytest.mark.parametrize(("name", "case"), LOOKUPS)
def test_captions_found(name, case, tmp_path):
    dataset = scan_files(tmp_path / "set", case["files"], case["options"])
    assert {record.name: record.caption for record in dataset.records} == case["captions"]
    assert tag_frequency([dataset]) == {"set": case["tag_frequency"]}


@pytest.mark.parametrize(("name", "case"), numbered(FOLDERS["regularisation"]))
def test_regularisation_repeats(name, case):
    own = [repeats for images, repeats in case["reg"] for _ in range(images)]
    wanted = sum(images * repeats for images, repeats in case["train"])
    repeats = regularisation_repeats(wanted, own)
    assert wanted == case["num_train_images"]
    assert sum(own) == case["num_reg_images"]
    assert repeats == case["reg_repeats"]
    assert sum(repeats) == case["reg_total_per_epoch"]


@pytest.mark.parametrize("row", FOLDERS["validation_split"]["rows"], ids=str)
def test_validation_split(row):
    images, share, trained, held_out = row
    assert num_held_out(images, share) == held_out
    assert images - held_out == trained


@pytest.mark.parametrize("row", FOLDERS["reference_faults"]["split_overlap"]["rows"], ids=str)
def test_no_image_is_in_both_parts(row):
    images, share, trained, _ = row
    assert num_held_out(images, share) == images - trained


def test_an_empty_caption_file_is_an_empty_caption(tmp_path):
    case = FOLDERS["reference_faults"]["empty_caption_file"]
    dataset = scan_files(tmp_path, case["files"], {"caption_extension": ".txt"})
    assert [record.caption for record in dataset.records] == [""]


def test_extensions_of_any_case_are_found(tmp_path):
    case = FOLDERS["reference_faults"]["mixed_case_extension"]
    dataset = scan_files(tmp_path, case["files"], case["options"])
    assert {record.name: record.caption for record in dataset.records} == {"A.Png": "lost", "B.png": "found"}
