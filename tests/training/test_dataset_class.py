"""--dataset_class: images from a class of the user's own."""

import json
import re
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.command import as_words, least_arguments, train
from tests.training.running import assert_same_weights, have_different_weights, metadata_of, run

PAGE = Path(__file__).parents[2] / "docs" / "own_dataset_class.md"
SIZES = [(64, 64), (128, 64), (64, 128), (80, 72)]


def pixels_of(number: int) -> np.ndarray:
    width, height = SIZES[number]
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def working_directory(tmp_path, monkeypatch):
    """Where the command is given; modules in it are forgotten afterwards."""
    folder = tmp_path / "Ordner für Klassen"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


@pytest.fixture
def arguments(tiny_model, working_directory):
    words = least_arguments(tiny_model, Path("unused"), working_directory / "out")
    del words["--train_data_dir"], words["--caption_extension"]
    return words | {"--max_train_steps": "6", "--enable_bucket": None, "--min_bucket_reso": "64"}


def write_module(folder: Path, body: str, name: str = "own_dataset") -> None:
    (folder / f"{name}.py").write_text(textwrap.dedent(body), encoding="utf-8")


COMPLETE = """
    import numpy as np

    SIZES = [(64, 64), (128, 64), (64, 128), (80, 72)]

    class Mine:
        def __len__(self):
            return 4

        def picture(self, index):
            width, height = SIZES[index]
            return np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)

        def caption(self, index):
            return f"sks cat, tag {index}"
"""


def problem_of(arguments, capsys, dataset_class="own_dataset.Mine", **options) -> str:
    words = arguments | {"--dataset_class": dataset_class} | options
    capsys.readouterr()
    assert train(*as_words(words)) == 1
    return capsys.readouterr().err


def test_the_example_of_the_page_trains(arguments, working_directory):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    write_module(working_directory, code, "own_example")
    with zipfile.ZipFile("pictures.zip", "w") as archive:
        for number in range(4):
            with archive.open(f"{number}.png", "w") as file:
                Image.fromarray(pixels_of(number)).save(file, "png")
            archive.writestr(f"{number}.txt", f"sks cat, tag {number}")
    options = {"dataset_class": "own_example.MyDataset", "dataset_repeats": 2, "max_data_loader_n_workers": 2}
    metadata = metadata_of(run(arguments, **options))
    assert json.loads(metadata["ss_dataset_dirs"]) == {"own_example.MyDataset": {"n_repeats": 2, "img_count": 4}}
    assert metadata["ss_num_train_images"] == "8"
    frequency = json.loads(metadata["ss_tag_frequency"])["own_example.MyDataset"]
    assert frequency == {"sks cat": 4} | {f"tag {number}": 1 for number in range(4)}


@pytest.mark.parametrize("options", [{}, {"cache_latents": True, "flip_aug": True}])
def test_the_same_images_train_the_same_as_from_a_folder(arguments, working_directory, options):
    """Names and places being equal, every draw is the same."""
    folder = working_directory / "train" / "1_cat"
    folder.mkdir(parents=True)
    for number in range(4):
        Image.fromarray(pixels_of(number)).save(folder / f"{number:06d}.png")
        (folder / f"{number:06d}.txt").write_text(f"sks cat, tag {number}", encoding="utf-8")
    write_module(
        working_directory, COMPLETE + "\n        def name(self, index):\n            return f'{index:06d}.png'\n"
    )
    of_class = run(arguments, dataset_class="own_dataset.Mine", **options)
    of_folder = run(
        arguments, train_data_dir=folder.parent, caption_extension=".txt", output_dir=working_directory / "second",
        **options,
    )  # fmt: skip
    assert_same_weights(of_class, of_folder)


def test_a_cache_on_disk_knows_images_by_their_pixels(arguments, working_directory, capsys):
    write_module(working_directory, COMPLETE)
    options = {"cache_latents_to_disk": True, "cache_dir": "caches", "dataset_class": "own_dataset.Mine"}
    first = run(arguments, **options)
    assert "0 of 4 different pictures are encoded already" in capsys.readouterr().err
    renamed = "        def name(self, index):\n            return f'Bild {3 - index}'\n"
    write_module(working_directory, f"{COMPLETE}\n{renamed}", "own_renamed")
    second = run(
        arguments, **options | {"dataset_class": "own_renamed.Mine"}, output_dir=working_directory / "second"
    )  # fmt: skip
    assert "4 of 4 different pictures are encoded already" in capsys.readouterr().err
    assert have_different_weights(first, second), "the name seeds the draws"


@pytest.mark.parametrize(
    ("dataset_class", "message"),
    [
        ("Mine", "--dataset_class Mine: write MODULE.CLASS, such as my_module.MyClass"),
        ("own_absent.Mine", "--dataset_class own_absent.Mine: there is no module own_absent"),
        ("own_dataset.Other", "--dataset_class own_dataset.Other: own_dataset has no class Other"),
        ("own_dataset.SIZES", "--dataset_class own_dataset.SIZES: own_dataset has no class SIZES"),
        ("own_needy.Mine", "importing own_needy needs the module surely_absent, which is not installed"),
        ("own_broken.Mine", r"importing own_broken raised ZeroDivisionError: .*own_broken.py, line 2\)"),
        ("own_wrong.Mine", r"importing own_wrong raised SyntaxError: invalid syntax \(own_wrong.py, line 2\)\n"),
    ],
)  # fmt: skip
def test_a_class_that_is_not_there(arguments, working_directory, capsys, dataset_class, message):
    write_module(working_directory, COMPLETE)
    write_module(working_directory, "import surely_absent", "own_needy")
    write_module(working_directory, "\n1 / 0", "own_broken")
    write_module(working_directory, "\nclass:", "own_wrong")
    assert re.search(message, problem_of(arguments, capsys, dataset_class))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("def __init__(self, tokenizer): pass", "constructor needs tokenizer, but only resolution, seed can be given"),
        ("def __init__(self): self.absent", r"making it raised AttributeError: .*own_dataset.py, line \d+\)"),
        ("picture = None", "it lacks picture; see docs/own_dataset_class.md"),
        ("def __len__(self): return 0", r"len\(\) is 0: it has no images"),
        ("def __len__(self): return -1", r"len\(\) raised ValueError"),
        ("def caption(self, index): return [][index]",
         r"caption\(0\) raised IndexError: list index out of range \(.*own_dataset.py, line \d+\), and so for 3 other "
         r"images of 4"),
        ("def caption(self, index): return 5 if index == 2 else ''",
         r"--dataset_class own_dataset.Mine: caption\(2\) must be a text or None, not 5\n"),
        ("def name(self, index): return 'same' if index else 'other'", r"name\(\) says 'same' 3 times; each image"),
        ("def name(self, index): return index", r"name\(0\) must be a text that is not empty, not 0"),
        ("def repeats(self, index): return 1.5", r"repeats\(0\) must be a whole number of at least 0, not 1.5"),
        ("def repeats(self, index): return 0", r"there are no training images"),
    ],
)  # fmt: skip
def test_a_class_that_does_not_keep_the_contract(arguments, working_directory, capsys, change, message):
    write_module(working_directory, COMPLETE + f"\n        {change}\n")
    assert re.search(message, problem_of(arguments, capsys))


def test_the_constructor_gets_what_it_asks_for(arguments, working_directory):
    write_module(
        working_directory,
        COMPLETE
        + """
        def __init__(self, seed, *, resolution, folder="x"):
            with open("given.txt", "a") as file:
                file.write(f"{seed} {resolution} {folder}")
        """,
    )
    run(arguments, dataset_class="own_dataset.Mine")
    assert (working_directory / "given.txt").read_text() == "42 (64, 64) x"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("def size(self, index): return SIZES[index] if index else 'wide'",
         r"size\(0\) must be \(width, height\) in pixels, not 'wide'"),
        ("def size(self, index): return SIZES[index or 3]",
         r"picture\(0\) is 64x64, but was said to be 80x72"),
        ("def mask(self, index): return None if index else np.zeros((3, 3), np.uint8)",
         r"mask\(0\) must be None, a PIL image or a uint8 array of shape \(height, width\), here \(64, 64\), not uint8 "
         r"\(3, 3\)"),
        ("old = picture\n        def picture(self, index): return self.old(index) if index else self.old(index) / 255",
         r"picture\(0\) must be a PIL image or a uint8 array of shape \(height, width, 3\), not float64 \(64, 64, 3\)"),
        ("old = picture\n        def picture(self, index): return self.old(index) if index else open('absent.png')",
         r"picture\(0\) raised FileNotFoundError: .*absent.png.* \(.*own_dataset.py, line \d+\)"),
        ("old = picture\n        def picture(self, index): return self.old(index) if index else np.load('absent.npy')",
         r"picture\(0\) raised FileNotFoundError: .*absent.npy.* \(.*own_dataset.py, line \d+\)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("workers", ["0", "2"])
def test_an_image_that_cannot_be_used_is_left_out_and_named(
    arguments, working_directory, capsys, change, reason, workers
):
    write_module(working_directory, COMPLETE + f"\n        {change}\n")
    words = arguments | {"--dataset_class": "own_dataset.Mine", "--max_data_loader_n_workers": workers}
    assert train(*as_words(words)) == 0
    assert re.search(reason, capsys.readouterr().err)
    assert re.search(rf"image '000000': {reason}", problem_of(words, capsys, **{"--unreadable_images": "error"}))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_class_of_which_no_picture_can_be_used_ends_the_run(arguments, working_directory, capsys, workers):
    write_module(
        working_directory,
        COMPLETE
        + """
        def size(self, index): return SIZES[index]

        def mask(self, index): return np.ones((2, 2), bool)
        """,
    )
    told = problem_of(arguments, capsys, **{"--max_data_loader_n_workers": workers})
    assert "Error: none of the images can be read, so that nothing is learned; '00000" in told
    assert "mask(1) must be None" in told


def test_a_class_that_is_a_dictionary(arguments, working_directory):
    body = COMPLETE.replace("class Mine:", "class Mine(dict):")
    assert body != COMPLETE
    write_module(working_directory, body)
    assert metadata_of(run(arguments, dataset_class="own_dataset.Mine"))["ss_num_train_images"] == "4"


def test_repeats_and_sizes_of_the_class(arguments, working_directory):
    write_module(
        working_directory,
        COMPLETE
        + """
        def repeats(self, index):
            return np.int64(index)

        def size(self, index):
            return SIZES[index]
        """,
    )
    metadata = metadata_of(run(arguments, dataset_class="own_dataset.Mine"))
    assert metadata["ss_num_train_images"] == "6"
    buckets = json.loads(metadata["ss_bucket_info"])["buckets"].values()
    assert {tuple(bucket["resolution"]): bucket["count"] for bucket in buckets} == {(64, 64): 6}
