"""Which mask belongs to which image."""

from pathlib import Path

import pytest
from PIL import Image

from library.dataset.findings import Findings
from library.dataset.scanning.mask_files import find_masks, masks_of_folder, report_unused_masks
from library.dataset.scanning.scan import scan_dataset
from library.dataset.scanning.subset_images import list_images
from library.options.dataset_settings import DatasetSettings, SubsetSettings


def make_images(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64)).save(folder / name)
    return folder


def find(images: Path, names, masks: Path, **values):
    findings = Findings()
    subset = SubsetSettings(image_dir=images, conditioning_data_dir=masks, **values)
    return find_masks([images / name for name in names], subset, findings), findings


def scan(*subsets: SubsetSettings):
    findings = Findings()
    return scan_dataset(0, DatasetSettings(resolution=(64, 64), subsets=subsets), findings), findings


def test_any_extension_in_any_case(tmp_path):
    names = ["a.png", "v1.5.jpg", "ü b.webp"]
    masks = make_images(tmp_path / "Masken für x", "a.PNG", "v1.5.png", "ü b.Jpg")
    found, findings = find(tmp_path / "set", names, masks)
    assert found == [masks / "a.PNG", masks / "v1.5.png", masks / "ü b.Jpg"]
    assert findings == Findings()


def test_without_a_mask_folder_there_are_no_masks(tmp_path):
    findings = Findings()
    assert find_masks([tmp_path / "a.png"], SubsetSettings(image_dir=tmp_path), findings) == [None]
    assert findings == Findings()


def test_all_missing_masks_are_named_at_once(tmp_path):
    images, masks = tmp_path / "set", make_images(tmp_path / "masks", "a.png")
    names = ["a.png", *(f"x{number}.png" for number in range(8))]
    found, findings = find(images, names, masks)
    assert found == [masks / "a.png"] + [None] * 8
    (problem,) = findings.problems
    assert problem.startswith(f"no mask of the same name in '{masks}': 8 of 9 images in '{images}': x0.png, ")
    assert all(name in problem for name in names[1:])


def test_several_masks_for_one_image(tmp_path):
    masks = make_images(tmp_path / "masks", "a.png", "a.jpg", "b.png")
    _, findings = find(tmp_path / "set", ["a.png", "b.png"], masks)
    assert findings.problems == [f"'{masks}' holds several masks for one image: a.jpg and a.png; keep one of them"]


def test_images_of_one_stem_share_a_mask(tmp_path):
    masks = make_images(tmp_path / "masks", "a.png")
    found, _ = find(tmp_path / "set", ["a.png", "a.jpg"], masks)
    assert found == [masks / "a.png"] * 2


def test_sub_folders_have_masks_in_folders_of_their_names(tmp_path):
    masks = make_images(tmp_path / "masks", "one/a.png", "two/a.png", "a.png")
    found, findings = find(tmp_path / "set", ["a.jpg", "one/a.png", "two/a.png"], masks, recursive=True)
    assert found == [masks / "a.png", masks / "one" / "a.png", masks / "two" / "a.png"]
    assert findings == Findings()


def test_a_missing_mask_folder(tmp_path):
    found, findings = find(tmp_path, ["a.png"], tmp_path / "gone")
    assert found == [None]
    assert findings.problems == [f"conditioning_data_dir '{tmp_path / 'gone'}': No such file or directory"]


def test_masks_that_no_subset_uses_are_a_warning(tmp_path):
    masks = make_images(tmp_path / "masks", "a.png", "b.png", "c.png", "d.png")
    subsets = [
        SubsetSettings(image_dir=make_images(tmp_path / name, f"{name}.jpg"), conditioning_data_dir=masks)
        for name in ("a", "b")
    ]
    subsets.append(SubsetSettings(image_dir=tmp_path / "gone", conditioning_data_dir=masks))
    findings = Findings()
    report_unused_masks([(subset, list_images(subset, Findings())) for subset in subsets], findings)
    assert findings.warnings == [f"belonging to no image: 2 masks in '{masks}': c.png, d.png"]


def test_where_the_masks_of_a_folder_are(tmp_path):
    (tmp_path / "1_cat").mkdir()
    assert masks_of_folder(tmp_path, Path("train/1_cat")) == tmp_path / "1_cat"
    assert masks_of_folder(tmp_path, Path("train/2_dog")) == tmp_path


@pytest.mark.parametrize("alpha", [False, True])
def test_records_know_their_masks(tmp_path, alpha):
    images, masks = make_images(tmp_path / "set", "a.png"), make_images(tmp_path / "masks", "a.jpg")
    with_masks = SubsetSettings(image_dir=images, conditioning_data_dir=masks, class_tokens="x", alpha_mask=alpha)
    without = SubsetSettings(image_dir=images, class_tokens="x", alpha_mask=alpha)
    findings = Findings()
    settings = DatasetSettings(resolution=(64, 64), subsets=(with_masks, without))
    dataset = scan_dataset(0, settings, findings)
    assert findings.problems == []
    assert [(record.mask_path, record.alpha_mask) for record in dataset.records] == [
        (masks / "a.jpg", alpha),
        (None, alpha),
    ]


@pytest.mark.parametrize("link", [False, True])
def test_masks_inside_a_folder_that_is_searched_are_no_images(tmp_path, link):
    images = make_images(tmp_path / "set", "a.png", "Jörg/b.png")
    masks = make_images(images / "Jörg" / "masks", "a.png", "Jörg/b.png")
    if link:
        (tmp_path / "elsewhere").symlink_to(masks)
        masks = tmp_path / "elsewhere"
    subset = SubsetSettings(image_dir=images, conditioning_data_dir=masks, class_tokens="x", recursive=True)
    dataset, findings = scan(subset)
    assert [(record.name, record.mask_path) for record in dataset.records] == [
        ("Jörg/b.png", masks / "Jörg" / "b.png"),
        ("a.png", masks / "a.png"),
    ]
    assert not findings.problems
    assert not any("belonging to no image" in warning for warning in findings.warnings)


def test_images_inside_a_folder_of_masks_are_no_masks(tmp_path):
    masks = make_images(tmp_path / "masks", "a.png")
    images = make_images(masks / "images", "a.png")
    subset = SubsetSettings(image_dir=images, conditioning_data_dir=masks, class_tokens="x", recursive=True)
    dataset, findings = scan(subset)
    assert [record.mask_path for record in dataset.records] == [masks / "a.png"]
    assert not any("belonging to no image" in warning for warning in findings.warnings)


def test_a_mask_of_an_image_that_cannot_be_read_is_not_unused(tmp_path):
    images, masks = make_images(tmp_path / "set", "a.png"), make_images(tmp_path / "masks", "a.png", "b.png")
    (images / "b.png").write_bytes(b"")
    _, findings = scan(SubsetSettings(image_dir=images, conditioning_data_dir=masks, class_tokens="x"))
    assert [skipped.path.name for skipped in findings.skipped] == ["b.png"]
    assert not any("belonging to no image" in warning for warning in findings.warnings)
