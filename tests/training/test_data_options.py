"""Where the options of a run and its dataset file find images, captions and masks."""

import json
from pathlib import Path

import pytest
from PIL import Image

from library.errors import UserError
from library.models.family import SD1, SD2
from library.training.preflight import check_run
from tests.options.resolving import resolve
from tests.training.command import as_words, least_arguments


def make_images(folder: Path, *names: str, captions: bool = True, grey: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (64, 64), (grey, grey, grey)).save(folder / name)
        if captions:
            (folder / name).with_suffix(".txt").write_text(f"a {folder.name}")
    return folder


@pytest.fixture
def arguments(tiny_model, tmp_path):
    return least_arguments(tiny_model, tmp_path / "train ü", tmp_path / "out")


def plan(arguments, *words):
    return check_run(resolve(*as_words(arguments), *words), (SD1, SD2))


def problems_of(arguments, *words) -> list[str]:
    with pytest.raises(UserError) as caught:
        plan(arguments, *words)
    return list(caught.value.problems)


def without(arguments, *names):
    return {name: value for name, value in arguments.items() if name not in names}


# Metadata files


@pytest.fixture
def metadata(arguments, tmp_path) -> Path:
    make_images(Path(arguments["--train_data_dir"]), "a.png", "b.png", captions=False)
    file = tmp_path / "captions.json"
    file.write_text(json.dumps({"a": {"caption": "A", "tags": "x"}, "b.png": {"caption": "B"}}), encoding="utf-8")
    return file


def test_a_metadata_file_and_the_folder_of_its_images(arguments, metadata):
    (dataset,) = plan(without(arguments, "--caption_extension"), "--in_json", metadata, "--dataset_repeats", 3).datasets
    assert [(record.image_id, record.caption, record.repeats) for record in dataset.records] == [
        ("0/0/a.png", "A,x", 3),
        ("0/0/b.png", "B", 3),
    ]
    assert dataset.num_train_images == 6


def test_a_metadata_file_beside_its_images(arguments, metadata):
    folder = Path(arguments["--train_data_dir"])
    moved = metadata.rename(folder / metadata.name)
    words = ("--in_json", moved, "--train_batch_size", 2)
    (dataset,) = plan(without(arguments, "--train_data_dir", "--caption_extension"), *words).datasets
    assert [record.path for record in dataset.records] == [folder / "a.png", folder / "b.png"]


def test_a_missing_metadata_file(arguments, metadata, tmp_path):
    problems = problems_of(without(arguments, "--caption_extension"), "--in_json", tmp_path / "gone.json")
    assert problems == [f"metadata file '{tmp_path / 'gone.json'}': No such file or directory"]


def test_images_of_a_metadata_file_are_held_out(arguments, tmp_path):
    """The reference trains on all of them and validates on all of them."""
    names = [f"{number}.png" for number in range(10)]
    for number, name in enumerate(names):
        make_images(tmp_path / "train ü", name, captions=False, grey=number)
    lines = "".join(json.dumps({"image_path": name, "caption": "x"}) + "\n" for name in names)
    (tmp_path / "m.jsonl").write_text(lines)
    words = ("--in_json", tmp_path / "m.jsonl", "--validation_split", 0.2)
    (dataset,) = plan(without(arguments, "--caption_extension"), *words).datasets
    assert (len(dataset.records), len(dataset.held_out)) == (8, 2)
    assert {record.name for record in (*dataset.records, *dataset.held_out)} == set(names)


# Masks


@pytest.fixture
def masked(arguments, tmp_path):
    """Folders of images, one of regularisation images, and masks for all but the latter."""
    make_images(tmp_path / "train ü" / "1_cat", "a.png", "b.png")
    make_images(tmp_path / "train ü" / "2_dog", "c.png")
    make_images(tmp_path / "reg" / "1_animal", "r.png")
    make_images(tmp_path / "Masken" / "2_dog", "c.PNG", captions=False)
    make_images(tmp_path / "Masken", "a.jpg", "b.webp", captions=False)
    words = ("--conditioning_data_dir", tmp_path / "Masken", "--masked_loss", "--reg_data_dir", tmp_path / "reg")
    return arguments, words


def test_masks_of_the_command_line(masked, tmp_path):
    """The reference accepts the option and does nothing with it."""
    arguments, words = masked
    (dataset,) = plan(arguments, *words).datasets
    masks = tmp_path / "Masken"
    assert {record.name: record.mask_path for record in dataset.records} == {
        "a.png": masks / "a.jpg",
        "b.png": masks / "b.webp",
        "c.png": masks / "2_dog" / "c.PNG",
        "r.png": None,
    }


def test_missing_masks_are_named_for_every_folder(masked, tmp_path):
    arguments, words = masked
    for name in ("a.jpg", "b.webp", "2_dog/c.PNG"):
        (tmp_path / "Masken" / name).unlink()
    problems = problems_of(arguments, *words)
    assert [problem.split("'")[3] for problem in problems] == [
        str(tmp_path / "train ü" / "1_cat"),
        str(tmp_path / "train ü" / "2_dog"),
    ]
    assert "2 of 2 images" in problems[0]
    assert "a.png, b.png; add masks" in problems[0]


def test_a_folder_of_masks_that_is_none(masked, tmp_path):
    arguments, words = masked
    gone = tmp_path / "gone"
    assert problems_of(arguments, *words, "--conditioning_data_dir", gone) == [
        f"--conditioning_data_dir '{gone}' is not a folder"
    ]


def test_masked_loss_without_masks(masked, caplog):
    arguments, _ = masked
    plan(arguments, "--masked_loss")
    assert "--masked_loss has no effect: no subset has a conditioning_data_dir or alpha_mask" in caplog.text
    caplog.clear()
    plan(arguments, "--masked_loss", "--alpha_mask")
    assert "--masked_loss has no effect" not in caplog.text


@pytest.mark.parametrize("words", [("--unmasked_weight", "0.5"), ("--normalize_masked_loss",)])
def test_options_of_masks_without_masks(masked, caplog, words):
    arguments, _ = masked
    plan(arguments, *words)
    assert f"{words[0]} has no effect: no subset has a conditioning_data_dir or alpha_mask" in caplog.text
    caplog.clear()
    plan(arguments, *words, "--alpha_mask")
    assert "has no effect" not in caplog.text


# Dataset files


def test_a_json_file_with_datasets_of_every_kind(arguments, masked, tmp_path):
    folders = {"image_dir": str(tmp_path / "train ü" / "1_cat"), "num_repeats": 4}
    pairs = {"image_dir": str(tmp_path / "train ü" / "2_dog"), "conditioning_data_dir": str(tmp_path / "Masken/2_dog")}
    (tmp_path / "m.json").write_text('{"a.png": {"caption": "from the file"}}')
    listed = {"metadata_file": str(tmp_path / "m.json"), "image_dir": str(tmp_path / "train ü" / "1_cat")}
    content = {
        "general": {"resolution": 64},
        "datasets": [
            {"batch_size": 3, "subsets": [folders]},
            {"resolution": [128, 64], "subsets": [pairs]},
            {"batch_size": 2, "subsets": [listed]},
        ],
    }
    file = tmp_path / "Daten ü.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    words = ("--dataset_config", file, "--masked_loss")
    datasets = plan(without(arguments, "--train_data_dir", "--resolution"), *words).datasets
    assert [(dataset.settings.resolution, dataset.settings.batch_size) for dataset in datasets] == [
        ((64, 64), 3),
        ((128, 64), 1),
        ((64, 64), 2),
    ]
    found = [
        (record.image_id, record.caption, record.repeats, record.mask_path is not None)
        for dataset in datasets
        for record in dataset.records
    ]
    assert found == [
        ("0/0/a.png", "a 1_cat", 4, False),
        ("0/0/b.png", "a 1_cat", 4, False),
        ("1/0/c.png", "a 2_dog", 1, True),
        ("2/0/a.png", "from the file", 1, False),
    ]


def test_what_is_said_about_a_file_s_keys_is_shown(arguments, masked, tmp_path, caplog):
    file = tmp_path / "d.toml"
    folder = tmp_path / "train ü" / "1_cat"
    file.write_text(
        f"[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = '{folder}'\ncustom_attributes = {{a = 1}}\n",
        encoding="utf-8",
    )
    plan(without(arguments, "--train_data_dir", "--resolution"), "--dataset_config", file)
    assert "d.toml: dataset 1, subset 1: custom_attributes: nothing reads a" in caplog.text


def test_a_folder_of_masks_among_the_folders_of_images_is_used(arguments, tmp_path, caplog):
    train = tmp_path / "train ü"
    make_images(train / "1_cat", "a.png")
    make_images(train / "masks", "a.png", captions=False)
    make_images(train / "leftover", "a.png", captions=False)
    (dataset,) = plan(arguments, "--masked_loss", "--conditioning_data_dir", train / "masks").datasets
    assert dataset.records[0].mask_path == train / "masks" / "a.png"
    (line,) = [line for line in caplog.messages if "does not begin with repeats" in line]
    assert "'leftover'" in line
    assert "'masks'" not in line


def test_a_folder_of_images_instead_of_the_one_above_it(arguments, tmp_path):
    folder = make_images(tmp_path / "train ü" / "10_sks dog", "a.png")
    (problem,) = problems_of(without(arguments, "--train_data_dir"), "--train_data_dir", folder)
    assert problem.endswith(f"such as '10_sks dog': give the folder above it, '{folder.parent}'")
