"""Datasets and subsets from a dataset file, or from folders alone."""

from pathlib import Path

import pytest

from library.options.dataset_file import dataset_from_subsets, datasets_from_file
from library.options.dataset_settings import DATASET_KEYS, SUBSET_KEYS, SUBSET_ONLY
from library.options.declaration import option
from library.options.schema import OptionSpec
from tests.options.resolving import resolve, resolve_complete, write_config

ONE_SUBSET = '[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = "a"\n'
FILE = "Bilder für dich.toml"


def read(folder: Path, text: str, *words: str):
    """The file's datasets in a run with these options."""
    return datasets_from_file(write_config(folder, text, FILE), resolve(*words))


def problems_of(folder: Path, text: str, *words: str) -> list[str]:
    """Without the name of the file, which each must begin with."""
    problems = read(folder, text, *words).problems
    assert all(problem.startswith(f"{FILE}: ") for problem in problems)
    return [problem.removeprefix(f"{FILE}: ") for problem in problems]


# Where a value comes from

LEVELS = ["default", "run", "general", "dataset", "subset"]


def file_with(name: str, values: dict[str, str]) -> str:
    def line(level: str) -> str:
        return f"{name} = {values[level]}\n" if level in values else ""

    return (
        f"[general]\n{line('general')}[[datasets]]\nresolution = 512\n{line('dataset')}"
        f'[[datasets.subsets]]\nimage_dir = "a"\n{line("subset")}'
    )


@pytest.mark.parametrize("last", range(5))
@pytest.mark.parametrize(
    ("name", "option", "values", "expected"),
    [
        ("keep_tokens", "keep_tokens", ["1", "2", "3", "4"], [0, 1, 2, 3, 4]),
        ("num_repeats", "dataset_repeats", ["2", "3", "4", "5"], [1, 2, 3, 4, 5]),
        ("caption_prefix", "caption_prefix", ['"r"', '"g"', '"ü d"', '""'], [None, "r", "g", "ü d", ""]),
        (
            "caption_extension",
            "caption_extension",
            ['"r"', '".g"', '"d"', '".s"'],
            [None, ".r", ".g", ".d", ".s"],
        ),
        ("flip_aug", "flip_aug", ["true", "false", "true", "false"], [False, True, False, True, False]),
        ("color_aug", "color_aug", ["true", "false", "true", "false"], [False, True, False, True, False]),
        (
            "resize_interpolation",
            "resize_interpolation",
            ['"area"', '"box"', '"cubic"', '"nearest"'],
            [None, "area", "box", "cubic", "nearest"],
        ),
        (
            "face_crop_aug_range",
            "face_crop_aug_range",
            ['"1,2"', "[1, 3]", "[1.5, 2]", "[0.5, 4]"],
            [None, (1.0, 2.0), (1.0, 3.0), (1.5, 2.0), (0.5, 4.0)],
        ),
        ("caption_dropout_rate", "caption_dropout_rate", ["1", "0.2", "0.3", "0"], [0.0, 1.0, 0.2, 0.3, 0.0]),
        ("token_warmup_step", "token_warmup_step", ["1", "0.2", "30", "0"], [0, 1, 0.2, 30, 0]),
        (
            "allow_missing_captions",
            "allow_missing_captions",
            ["true", "false", "true", "false"],
            [False, True, False, True, False],
        ),
    ],
)
def test_subset_beats_dataset_beats_general_beats_run_beats_default(tmp_path, name, option, values, expected, last):
    """`values` for run, general, dataset and subset; the levels up to number `last` name one."""
    written = dict(zip(LEVELS[1:], values, strict=True))
    used = {level: written[level] for level in LEVELS[1 : last + 1]}
    config = write_config(tmp_path, f"{option} = {used['run']}\n" if "run" in used else "", "run.toml")
    found = read(tmp_path, file_with(name, used), "--config_file", str(config))
    assert found.problems == ()
    assert getattr(found.datasets[0].subsets[0], name) == expected[last]


@pytest.mark.parametrize(
    ("general", "dataset", "words", "expected"),
    [
        ("", "", (), (1, False, None)),
        ("", "", ("--train_batch_size", "2", "--enable_bucket", "--resolution", "640"), (2, True, (640, 640))),
        ("batch_size = 3", "", ("--train_batch_size", "2", "--resolution", "640"), (3, False, (640, 640))),
        ("batch_size = 3", "batch_size = 4", ("--train_batch_size", "2"), (4, False, None)),
        ("enable_bucket = true", "enable_bucket = false", ("--enable_bucket",), (1, False, None)),
        ("resolution = 576", "resolution = [512, 768]", ("--resolution", "640"), (1, False, (512, 768))),
        ("resolution = 576", "", ("--resolution", "640"), (1, False, (576, 576))),
    ],
)
def test_dataset_beats_general_beats_run(tmp_path, general, dataset, words, expected):
    text = f'[general]\n{general}\n[[datasets]]\n{dataset}\n[[datasets.subsets]]\nimage_dir = "a"\n'
    found = read(tmp_path, text, *words)
    (settings,) = found.datasets
    assert (settings.batch_size, settings.enable_bucket, settings.resolution) == expected
    missing = () if expected[2] else (f"{FILE}: dataset 1: resolution is missing; give it there or as --resolution",)
    assert found.problems == missing


def test_each_dataset_and_subset_has_its_own_values(tmp_path):
    text = """
        [general]
        shuffle_caption = true
        [[datasets]]
        resolution = 512
        keep_tokens = 1
          [[datasets.subsets]]
          image_dir = "Bilder ü/1"
          class_tokens = "sks dog"
          [[datasets.subsets]]
          image_dir = 'C:\\neu\\xml'
          is_reg = true
          keep_tokens = 2
          shuffle_caption = false
        [[datasets]]
        resolution = [768, 512]
        batch_size = 4
          [[datasets.subsets]]
          image_dir = "3"
    """
    found = read(tmp_path, text)
    assert found.problems == ()
    assert [(dataset.resolution, dataset.batch_size) for dataset in found.datasets] == [
        ((512, 512), 1),
        ((768, 512), 4),
    ]
    subsets = [
        (subset.image_dir, subset.class_tokens, subset.is_reg, subset.keep_tokens, subset.shuffle_caption)
        for dataset in found.datasets
        for subset in dataset.subsets
    ]
    assert subsets == [
        (Path("Bilder ü/1"), "sks dog", False, 1, True),
        (Path("C:\\neu\\xml"), None, True, 2, False),
        (Path("3"), None, False, 0, True),
    ]


def test_which_caption_files_are_looked_for(tmp_path):
    def extensions(text, *words):
        return read(tmp_path, text, *words).datasets[0].subsets[0].caption_extensions

    assert extensions(ONE_SUBSET) == (".caption", ".txt")
    assert extensions(ONE_SUBSET + 'caption_extension = "txt"') == (".txt",)
    assert extensions(ONE_SUBSET, "--caption_extension", ".caption") == (".caption",)
    assert extensions(ONE_SUBSET, "--caption_extention", "text") == (".text",)


def test_replacements_of_texts(tmp_path):
    text = "[general]\ncaption_replacements = { b = 'c' }\n" + ONE_SUBSET
    assert read(tmp_path, text).datasets[0].subsets[0].caption_replacements == {"b": ("c",)}
    text += "caption_replacements = { '' = ['ein Hund', 'über'], z = 'ä' }"
    found = read(tmp_path, text).datasets[0].subsets[0].caption_replacements
    assert list(found.items()) == [("", ("ein Hund", "über")), ("z", ("ä",))]


def test_the_misspelt_caption_option_of_the_run_wins_over_the_right_one(tmp_path):
    words = ("--caption_extension", ".right", "--caption_extention", "wrong")
    assert read(tmp_path, ONE_SUBSET, *words).datasets[0].subsets[0].caption_extension == ".wrong"
    own = ONE_SUBSET + 'caption_extension = "own"\n'
    assert read(tmp_path, own, *words).datasets[0].subsets[0].caption_extension == ".own"


def test_which_keys_there_are():
    assert (len(DATASET_KEYS), len(SUBSET_KEYS)) == (9, 33)
    assert not set(DATASET_KEYS) & set(SUBSET_KEYS)
    assert SUBSET_ONLY.issubset(SUBSET_KEYS)
    assert "caption_extention" not in SUBSET_KEYS


# What is wrong


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[general]\nkeep_token = 1\n" + ONE_SUBSET,
            "[general]: there is no key keep_token. Did you mean keep_tokens?",
        ),
        (ONE_SUBSET.replace("512", "512\nqqqq = 1"), "dataset 1: there is no key qqqq."),
        (ONE_SUBSET + "keep_token = 1", "dataset 1, subset 1: there is no key keep_token. Did you mean keep_tokens?"),
        (
            ONE_SUBSET + '[[datasets.subsets]]\nimage_dir = "b"\ncaption_extention = ".txt"',
            "dataset 1, subset 2: there is no key caption_extention. Did you mean caption_extension?",
        ),
        (ONE_SUBSET + ONE_SUBSET.replace("512", "512\nqqqq = 1"), "dataset 2: there is no key qqqq."),
        (
            "[general]\nprior_loss_weight = 1.0\n" + ONE_SUBSET,
            "[general]: there is no key prior_loss_weight. It is an option of the run: --prior_loss_weight",
        ),
        (
            ONE_SUBSET.replace("512", "512\ntrain_batch_size = 2"),
            "dataset 1: there is no key train_batch_size. It is called batch_size here",
        ),
        (
            ONE_SUBSET + "dataset_repeats = 2",
            "dataset 1, subset 1: there is no key dataset_repeats. It is called num_repeats here",
        ),
        (
            "[genral]\nkeep_tokens = 1\n" + ONE_SUBSET,
            "[genral] is not known; a dataset file has [general] and [[datasets]] only. Did you mean general?",
        ),
        (
            "resolution = 512\n" + ONE_SUBSET,
            "[resolution] is not known; a dataset file has [general] and [[datasets]] only.",
        ),
    ],
)
def test_unknown_keys_are_named_with_their_place(tmp_path, text, problem):
    assert problems_of(tmp_path, text) == [problem]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('keep_tokens = "1"', 'keep_tokens = "1": must be a whole number; write 1 without quotes'),
        ('caption_separator = ""', "caption_separator = '': must not be empty; leave it out to use the default"),
        ("keep_tokens = true", "keep_tokens = true: must be a whole number"),
        ("keep_tokens = 1.0", "keep_tokens = 1.0: must be a whole number; write 1 instead of 1.0"),
        ("keep_tokens = -1", "keep_tokens = -1: must be at least 0 (tags)"),
        ("caption_dropout_rate = 1.5", "caption_dropout_rate = 1.5: must be at most 1"),
        ("caption_dropout_rate = nan", "caption_dropout_rate = nan: must be a number"),
        ("shuffle_caption = 1", "shuffle_caption = 1: must be true or false"),
        (
            "caption_replacements = { a = 1 }",
            "caption_replacements = {'a': 1}: must be a table such as "
            '{ "sks" = "sks dog", "photo" = ["picture", "image"] }',
        ),
        ("caption_separator = 1", 'caption_separator = 1: must be text (in a file: "in quotes")'),
        ('caption_extension = ""', "caption_extension = '': must not be empty; leave it out to use the default"),
        ('is_reg = "yes"', "is_reg = yes: must be true or false; write true without quotes"),
    ],
)
def test_values_that_do_not_fit(tmp_path, line, problem):
    assert problems_of(tmp_path, ONE_SUBSET + line) == [f"dataset 1, subset 1: {problem}"]


def test_a_wrong_path(tmp_path):
    problems = problems_of(tmp_path, ONE_SUBSET.replace('"a"', "5"))
    assert problems == ['dataset 1, subset 1: image_dir = 5: must be a path (in a file: "in quotes")']


@pytest.mark.parametrize("name", ["image_dir", "metadata_file", "conditioning_data_dir"])
@pytest.mark.parametrize("path", ["", "a\\u0000b"])
def test_a_path_that_names_nothing_is_not_the_current_folder(tmp_path, name, path):
    line = f'{name} = "{path}"'
    text = ONE_SUBSET.replace('image_dir = "a"', line) if name == "image_dir" else ONE_SUBSET + line
    problem = problems_of(tmp_path, text, "--masked_loss")[0]
    assert problem.startswith(f"dataset 1, subset 1: {name} = ")
    assert problem.endswith(": must name a file or a folder")


def test_a_subset_with_a_wrong_path_is_left_out(tmp_path):
    (dataset,) = read(tmp_path, ONE_SUBSET.replace('"a"', "5") + '[[datasets.subsets]]\nimage_dir = "b"\n').datasets
    assert [subset.image_dir for subset in dataset.subsets] == [Path("b")]


@pytest.mark.parametrize("place", ["general", "dataset"])
def test_a_wrong_resolution_is_not_also_called_missing(tmp_path, place):
    lines = {"general": "", "dataset": "", place: 'resolution = "big"'}
    text = f'[general]\n{lines["general"]}\n[[datasets]]\n{lines["dataset"]}\n[[datasets.subsets]]\nimage_dir = "a"\n'
    shown = {"general": "[general]", "dataset": "dataset 1"}[place]
    assert problems_of(tmp_path, text) == [f"{shown}: resolution = big: must be one whole number or 'width,height'"]


def test_missing_resolution(tmp_path):
    text = ONE_SUBSET.replace("resolution = 512\n", "")
    missing = "dataset 2: resolution is missing; give it there or as --resolution"
    assert problems_of(tmp_path, ONE_SUBSET + text) == [missing]
    assert problems_of(tmp_path, ONE_SUBSET + text, "--resolution", "512") == []


NO_DATASET = "it describes no dataset; add [[datasets]] with [[datasets.subsets]] in it"
NO_SUBSET = "dataset 1: it has no subset; add [[datasets.subsets]] with an image_dir"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", [NO_DATASET]),
        ("[general]\nresolution = 512\n", [NO_DATASET]),
        ("datasets = []\n", [NO_DATASET]),
        ("datasets = [1]\n", [NO_DATASET]),
        ("[datasets]\nresolution = 512\n", [NO_DATASET]),
        ("[[datasets]]\nresolution = 512\n", [NO_SUBSET]),
        ("[[datasets]]\nresolution = 512\nsubsets = []\n", [NO_SUBSET]),
        ('[[datasets]]\nresolution = 512\nsubsets = ["a"]\n', [NO_SUBSET]),
        ('[[datasets]]\nresolution = 512\n[datasets.subsets]\nimage_dir = "a"\n', [NO_SUBSET]),
        ("[[datasets]]\nresolution = 512\n[[datasets.subsets]]\n", ["dataset 1, subset 1: image_dir is missing"]),
        ("general = 5\n" + ONE_SUBSET, ["general must be one table, with the heading [general]"]),
        ("[[general]]\n" + ONE_SUBSET, ["general must be one table, with the heading [general]"]),
    ],
)
def test_files_without_the_tables_they_need(tmp_path, text, problems):
    assert problems_of(tmp_path, text) == problems


SUBSET_ONLY_LINES = {
    "image_dir": 'image_dir = "b"',
    "is_reg": "is_reg = true",
    "metadata_file": 'metadata_file = ""',
    "conditioning_data_dir": 'conditioning_data_dir = ""',
}


@pytest.mark.parametrize("name", sorted(SUBSET_ONLY))
@pytest.mark.parametrize("place", ["[general]", "dataset 1"])
def test_keys_that_belong_to_a_subset(tmp_path, place, name):
    line = SUBSET_ONLY_LINES[name]
    in_general, in_dataset = (line, "") if place == "[general]" else ("", line)
    text = f"[general]\n{in_general}\n" + ONE_SUBSET.replace("512", f"512\n{in_dataset}")
    assert f"{place}: {name} belongs in [[datasets.subsets]]" in problems_of(tmp_path, text)


@pytest.mark.parametrize("line", ["batch_size = 2", "resolution = 512", "enable_bucket = true"])
def test_keys_that_belong_to_a_dataset(tmp_path, line):
    name = line.split(" ", 1)[0]
    problems = problems_of(tmp_path, ONE_SUBSET + line)
    assert problems == [f"dataset 1, subset 1: {name} belongs in [[datasets]]"]


@pytest.fixture
def pending_key(monkeypatch) -> str:
    """A key that this version knows and refuses, as it stands now and then in a list of options."""
    field = option(False, help="Something.", pending="a later version")
    field.annotation = bool
    monkeypatch.setitem(SUBSET_KEYS, "later", OptionSpec("later", "subset", field))
    return "later"


def test_pending_keys_are_refused_with_their_place(tmp_path, pending_key):
    refusal = f"{pending_key}: not available in this version yet (a later version); leave it out"
    assert problems_of(tmp_path, ONE_SUBSET + "later = true") == [f"dataset 1, subset 1: {refusal}"]
    assert problems_of(tmp_path, f"[general]\nlater = true\n{ONE_SUBSET}") == [f"[general]: {refusal}"]


def test_pending_keys_are_accepted_when_off(tmp_path, pending_key):
    assert problems_of(tmp_path, f"[general]\n{pending_key} = false\n{ONE_SUBSET}") == []


def test_no_key_is_pending():
    assert not [name for name, spec in {**DATASET_KEYS, **SUBSET_KEYS}.items() if spec.traits.pending]


def test_a_refused_value_is_not_used(tmp_path):
    (dataset,) = read(tmp_path, ONE_SUBSET + "color_aug = 1\nkeep_tokens = -1").datasets
    assert (dataset.subsets[0].color_aug, dataset.subsets[0].keep_tokens) == (False, 0)


def test_several_problems_are_reported_at_once_and_each_once(tmp_path):
    text = """
        [general]
        keep_tokens = "1"
        qqqq = 1
        [[datasets]]
          [[datasets.subsets]]
          image_dir = "a"
          [[datasets.subsets]]
          image_dir = "b"
          color_aug = "yes"
        [[datasets]]
        resolution = 512
        batch_size = 0
          [[datasets.subsets]]
          num_repeats = true
    """
    problems = problems_of(tmp_path, text)
    assert len(problems) == len(set(problems)) == 7
    assert set(problems) == {
        '[general]: keep_tokens = "1": must be a whole number; write 1 without quotes',
        "[general]: there is no key qqqq.",
        "dataset 1: resolution is missing; give it there or as --resolution",
        "dataset 1, subset 2: color_aug = yes: must be true or false; write true without quotes",
        "dataset 2: batch_size = 0: must be at least 1 (images)",
        "dataset 2, subset 1: image_dir is missing",
        "dataset 2, subset 1: num_repeats = true: must be a whole number",
    }


def test_missing_file(tmp_path):
    path = tmp_path / "weg ü.toml"
    found = datasets_from_file(path, resolve())
    assert found.datasets == ()
    assert found.problems == (f"--dataset_config: cannot read '{path}': No such file or directory",)


def test_a_file_that_is_not_toml(tmp_path):
    (problem,) = datasets_from_file(write_config(tmp_path, "[[datasets]\n", FILE), resolve()).problems
    assert problem.startswith(f"--dataset_config: '{tmp_path / FILE}' is not valid TOML: ")
    assert "line 1" in problem


def test_backslashes_in_toml_are_explained(tmp_path):
    text = ONE_SUBSET + r'caption_prefix = "train\10_sks"'
    (problem,) = datasets_from_file(write_config(tmp_path, text, FILE), resolve()).problems
    assert problem.endswith("; write Windows paths in single quotes")


# Without a file


def test_folders_take_everything_else_from_the_run():
    run = resolve_complete(
        "--train_batch_size", "3", "--enable_bucket", "--shuffle_caption", "--caption_extention", "txt",
        "--dataset_repeats", "9",
    )  # fmt: skip
    folders = [
        {"image_dir": Path("train ü/10_sks dog"), "num_repeats": 10, "class_tokens": "sks dog", "is_reg": False},
        {"image_dir": Path("reg/1_dog"), "num_repeats": 1, "class_tokens": "dog", "is_reg": True},
    ]
    settings = dataset_from_subsets(folders, run)
    assert (settings.resolution, settings.batch_size, settings.enable_bucket) == ((512, 512), 3, True)
    assert len(settings.subsets) == 2
    for subset, folder in zip(settings.subsets, folders, strict=True):
        assert {name: getattr(subset, name) for name in folder} == folder
        assert (subset.shuffle_caption, subset.caption_extension) == (True, ".txt")


def test_a_folder_that_names_no_repeats_takes_those_of_the_run():
    settings = dataset_from_subsets([{"image_dir": Path("a")}], resolve_complete("--dataset_repeats", "9"))
    assert settings.subsets[0].num_repeats == 9
