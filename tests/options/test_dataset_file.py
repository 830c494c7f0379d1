"""The forms of dataset files, and keys that depend on each other."""

import codecs
import json
from pathlib import Path

import pytest

from library.options.dataset_file import datasets_from_file
from tests.options.resolving import resolve, write_config

TOML = """
[general]
caption_extension = ".txt"
[[datasets]]
resolution = [512, 768]
  [[datasets.subsets]]
  image_dir = "Bilder ü"
  face_crop_aug_range = [1, 3]
  custom_attributes = {note = "ü"}
"""
JSON = json.dumps(
    {
        "general": {"caption_extension": ".txt"},
        "datasets": [
            {
                "resolution": [512, 768],
                "subsets": [
                    {"image_dir": "Bilder ü", "face_crop_aug_range": [1, 3], "custom_attributes": {"note": "ü"}}
                ],
            }
        ],
    },
    ensure_ascii=False,
)


def read_bytes(path: Path, content: bytes, *words: str):
    path.write_bytes(content)
    return datasets_from_file(path, resolve(*words))


def subset_file(*lines: str) -> str:
    return "\n".join(['[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = "a"', *lines])


def read(folder: Path, text: str, *words: str):
    return datasets_from_file(write_config(folder, text, "d.toml"), resolve(*words))


def problems_of(folder: Path, text: str, *words: str) -> list[str]:
    return [problem.removeprefix("d.toml: ") for problem in read(folder, text, *words).problems]


# Files


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize(("name", "text"), [("d.toml", TOML), ("d.TOML", TOML), ("d.json", JSON), ("d.Json", JSON)])
def test_both_forms_say_the_same(tmp_path, name, text, mark):
    found = read_bytes(tmp_path / name, mark + text.encode())
    assert found.problems == ()
    assert found.warnings == (f"{name}: dataset 1, subset 1: custom_attributes: nothing reads note",)
    (dataset,) = found.datasets
    (subset,) = dataset.subsets
    assert dataset.resolution == (512, 768)
    assert (subset.image_dir, subset.caption_extension) == (Path("Bilder ü"), ".txt")
    assert (subset.face_crop_aug_range, subset.custom_attributes) == ((1.0, 3.0), {"note": "ü"})


@pytest.mark.parametrize("name", ["d.yaml", "d", "d.txt"])
def test_other_suffixes_are_refused(tmp_path, name):
    (problem,) = read_bytes(tmp_path / name, TOML.encode()).problems
    path = tmp_path / name
    assert problem == f"--dataset_config '{path}': its name must end in .toml or .json, which says what it holds"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is not valid JSON: Expecting property name"),
        (b"[]", "must hold one object, with the keys general and datasets"),
        (b'{"datasets": [], "datasets": []}', "is not valid JSON: the key 'datasets' stands twice in the same object"),
        ('{"ü": 1}'.encode("cp1252"), "is not UTF-8 text; save it again as UTF-8"),
    ],
)
def test_json_that_cannot_be_read(tmp_path, content, problem):
    (found,) = read_bytes(tmp_path / "d.json", content).problems
    assert f"'{tmp_path / 'd.json'}' {problem}" in found


def test_null_in_json_is_the_same_as_nothing(tmp_path):
    subset = {"image_dir": "a", "keep_tokens": None, "caption_prefix": None, "metadata_file": None}
    content = {
        "general": {"keep_tokens": 2},
        "datasets": [{"resolution": 512, "batch_size": None, "subsets": [subset]}],
    }
    found = read_bytes(tmp_path / "d.json", json.dumps(content).encode(), "--train_batch_size", "3")
    assert found.problems == ()
    assert (found.datasets[0].batch_size, found.datasets[0].subsets[0].keep_tokens) == (3, 2)


def test_null_names_no_metadata_file_and_no_masks(tmp_path):
    folder = {"image_dir": "a", "metadata_file": None, "conditioning_data_dir": None, "class_tokens": "x"}
    subsets = [folder, {"image_dir": "b", "is_reg": True}]
    content = {"general": None, "datasets": [{"resolution": 512, "subsets": subsets}]}
    assert read_bytes(tmp_path / "d.json", json.dumps(content).encode()).problems == ()


# Values


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('face_crop_aug_range = "1,3"', "face_crop_aug_range = 1,3: write [1,3], without quotes"),
        ("face_crop_aug_range = 2", "face_crop_aug_range = 2: must be two numbers"),
        ("custom_attributes = 5", "custom_attributes = 5: "),
        ("recursive = 1", "recursive = 1: must be true or false"),
    ],
)
def test_values_that_do_not_fit(tmp_path, line, problem):
    (found,) = problems_of(tmp_path, subset_file(line))
    assert found.startswith(f"dataset 1, subset 1: {problem}")


ANYWHERE = {
    "alpha_mask": True,
    "recursive": True,
    "class_tokens": "sks dog",
    "validation_split": 0.25,
    "validation_seed": 7,
    "color_aug": True,
}
"""Keys of a subset that the reference, too, accepts in a dataset, or should."""


@pytest.mark.parametrize("place", ["general", "dataset", "subset"])
@pytest.mark.parametrize("name", ANYWHERE)
def test_keys_that_may_stand_anywhere(tmp_path, name, place):
    line = f"{name} = {json.dumps(ANYWHERE[name])}"
    lines = {level: line if level == place else "" for level in ("general", "dataset", "subset")}
    text = (
        f"[general]\n{lines['general']}\n[[datasets]]\nresolution = 512\n{lines['dataset']}\n"
        f'[[datasets.subsets]]\nimage_dir = "a"\n{lines["subset"]}\n'
    )
    found = read(tmp_path, text)
    assert found.problems == ()
    assert getattr(found.datasets[0].subsets[0], name) == ANYWHERE[name]


@pytest.mark.parametrize("name", sorted(ANYWHERE.keys() - {"class_tokens"}))
def test_options_that_stand_in_for_them(tmp_path, name):
    words = (f"--{name}",) if ANYWHERE[name] is True else (f"--{name}", str(ANYWHERE[name]))
    assert getattr(read(tmp_path, subset_file(), *words).datasets[0].subsets[0], name) == ANYWHERE[name]


# Kinds of subsets


def test_a_metadata_file_needs_no_folder(tmp_path):
    text = '[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nmetadata_file = "sets/m.json"\n'
    (subset,) = read(tmp_path, text).datasets[0].subsets
    assert (subset.metadata_file, subset.image_dir) == (Path("sets/m.json"), Path("sets"))
    (subset,) = read(tmp_path, text + 'image_dir = "pics"').datasets[0].subsets
    assert (subset.metadata_file, subset.image_dir) == (Path("sets/m.json"), Path("pics"))


@pytest.mark.parametrize("line", ['caption_extension = ".txt"', 'class_tokens = "x"', "is_reg = true"])
def test_keys_that_do_not_go_with_a_metadata_file(tmp_path, line):
    name = line.split(" ", 1)[0]
    (problem,) = problems_of(tmp_path, subset_file('metadata_file = "m.json"', line))
    assert problem.startswith(f"dataset 1, subset 1: {name} does not go with metadata_file: ")
    assert problems_of(tmp_path, subset_file(line)) == []
    if name != "is_reg":
        in_dataset = subset_file('metadata_file = "m.json"').replace("512", f"512\n{line}")
        (problem,) = problems_of(tmp_path, in_dataset)
        assert problem.startswith(f"dataset 1: {name} does not go with metadata_file: ")
        in_general = f"[general]\n{line}\n" + subset_file('metadata_file = "m.json"')
        assert problems_of(tmp_path, in_general) == []


def test_masks_do_not_go_with_a_metadata_file(tmp_path):
    text = subset_file('metadata_file = "m.json"', 'conditioning_data_dir = "masks"')
    assert problems_of(tmp_path, text, "--masked_loss") == [
        "dataset 1, subset 1: conditioning_data_dir goes with image_dir alone, not with metadata_file"
    ]


def test_masks_need_masked_loss(tmp_path):
    text = subset_file('conditioning_data_dir = "Masken ü"')
    assert problems_of(tmp_path, text) == [
        "dataset 1, subset 1: conditioning_data_dir, a folder of masks, needs the option --masked_loss; add it"
    ]
    found = read(tmp_path, text, "--masked_loss")
    assert (found.problems, found.warnings) == ((), ())
    assert found.datasets[0].subsets[0].conditioning_data_dir == Path("Masken ü")


def test_folders_with_and_without_masks_in_one_dataset(tmp_path):
    text = subset_file('conditioning_data_dir = "m"', '[[datasets.subsets]]\nimage_dir = "reg"\nis_reg = true')
    found = read(tmp_path, text, "--masked_loss")
    assert found.problems == ()
    assert [subset.conditioning_data_dir for subset in found.datasets[0].subsets] == [Path("m"), None]


def test_the_mask_folder_of_the_run_is_none_of_the_file_s(tmp_path):
    found = read(tmp_path, subset_file(), "--masked_loss", "--conditioning_data_dir", "m")
    assert found.datasets[0].subsets[0].conditioning_data_dir is None


def test_masks_beat_transparency(tmp_path):
    text = subset_file('conditioning_data_dir = "m"', "alpha_mask = true")
    (warning,) = read(tmp_path, text, "--masked_loss").warnings
    place = "d.toml: dataset 1, subset 1"
    assert warning == f"{place}: alpha_mask has no effect, since the pictures in conditioning_data_dir are the masks"


def test_attributes_that_nothing_reads(tmp_path):
    text = subset_file("custom_attributes = {diff_output_preservation = true, a = 1, b = 2}")
    found = read(tmp_path, text)
    assert found.problems == ()
    assert found.warnings == ("d.toml: dataset 1, subset 1: custom_attributes: nothing reads a, b",)


def test_images_that_are_to_stay_as_they_are(tmp_path):
    for value, wanted in (("true", True), ("false", False)):
        found = read(tmp_path, subset_file(f"custom_attributes = {{diff_output_preservation = {value}}}"))
        assert (found.problems, found.warnings) == ((), ())
        assert found.datasets[0].subsets[0].preserves_output is wanted
    assert not read(tmp_path, subset_file()).datasets[0].subsets[0].preserves_output
    assert problems_of(tmp_path, subset_file("custom_attributes = {diff_output_preservation = 'yes'}")) == [
        "dataset 1, subset 1: custom_attributes: diff_output_preservation must be true or false, not 'yes'"
    ]
