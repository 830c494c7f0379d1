"""dataset_config.json: dataset files, what they say, and which are refused."""

from pathlib import Path

import pytest
from PIL import Image

from library.dataset.findings import Findings
from library.models.family import SD1
from library.options.dataset_file import datasets_from_file
from library.options.dataset_settings import SubsetSettings
from library.training.dataset_checks import check_datasets
from tests.golden.tables import numbered, table
from tests.options.resolving import resolve_complete, write_config

TABLE = table("dataset_config")
FILE = "dataset.toml"
OF_SUBSETS = ("validation_split", "validation_seed", "resize_interpolation")
"""Keys of the reference's datasets that belong to each subset here."""


def words_of(case) -> list[str]:
    return [str(word) for name, value in case["options"].items() for word in (name, value) if word is not None]


def read(case, folder: Path):
    """The run, and what the case's file says in it."""
    resolved = resolve_complete(*words_of(case), without=("--train_data_dir", "--resolution"))
    assert not [
        problem for problem in resolved.problems if "train_data_dir" not in problem and "resolution" not in problem
    ]
    return resolved, datasets_from_file(write_config(folder, case["toml"], FILE), resolved)


def kind_of(subset: SubsetSettings) -> str:
    if subset.metadata_file is not None:
        return "metadata"
    return "dreambooth" if subset.conditioning_data_dir is None else "paired"


def value_of(subset: SubsetSettings, name: str):
    """As the table writes it."""
    value = getattr(subset, name)
    if name == "caption_extension" and value is None:
        return subset.caption_extensions[0]
    if name == "image_dir" and subset.metadata_file is not None and value == subset.metadata_file.parent:
        return None  # without an image_dir, relative names are looked up beside the metadata file
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def with_dot(values):
    """The reference adds the dot of a caption_extension only when it uses it."""
    extension = values.get("caption_extension")
    return values if extension is None else {**values, "caption_extension": f".{extension.removeprefix('.')}"}


def assert_as_listed(found, resolved, expected) -> None:
    assert [len(dataset.subsets) for dataset in found.datasets] == [len(one["subsets"]) for one in expected]
    for dataset, wanted in zip(found.datasets, expected, strict=True):
        assert {kind_of(subset) for subset in dataset.subsets} == {wanted["kind"]}
        for name, value in wanted["dataset"].items():
            if name == "prior_loss_weight":
                assert resolved.settings.loss.prior_loss_weight == value
            elif name == "resolution":
                assert list(dataset.resolution) == value
            elif name in OF_SUBSETS:
                for subset, values in zip(dataset.subsets, wanted["subsets"], strict=True):
                    assert getattr(subset, name) == values.get(name, value), name
            else:
                assert getattr(dataset, name) == value, name
        for subset, values in zip(dataset.subsets, wanted["subsets"], strict=True):
            assert {name: value_of(subset, name) for name in values} == with_dot(values)


@pytest.mark.parametrize(("name", "case"), numbered(TABLE["cases"], "name"))
def test_file(name, case, tmp_path):
    resolved, found = read(case, tmp_path)
    assert_as_listed(found, resolved, case["datasets"])
    assert found.problems == ()


def problems_of(case, folder: Path, monkeypatch) -> list[str]:
    """What a run says that has small images in every folder the files name."""
    monkeypatch.chdir(folder)
    (folder / "pics").mkdir()
    Image.new("RGB", (64, 64)).save(folder / "pics" / "img0.png")
    (folder / "pics" / "img0.caption").write_text("a caption")
    write_config(folder, case["toml"], FILE)
    words = ("--dataset_config", FILE, *words_of(case))
    resolved = resolve_complete(*words, without=("--train_data_dir", "--resolution"))
    assert resolved.problems == ()
    findings = Findings()
    check_datasets(resolved, SD1, findings, lists_images=True)
    return findings.problems


REFUSALS = {
    "unknown key in subset": "dataset 1, subset 1: there is no key repeats",
    "unknown key in dataset": "dataset 1: there is no key batchsize. Did you mean batch_size?",
    "unknown key in general": "[general]: there is no key enable_buckets. Did you mean enable_bucket?",
    "unknown table": "[extra] is not known",
    "no image folder": "dataset 1, subset 1: image_dir is missing",
    "text for a number": 'dataset 1: batch_size = "4": must be a whole number',
    "number for a truth value": "dataset 1, subset 1: flip_aug = 1: must be true or false",
    "fraction for a whole number": "dataset 1, subset 1: num_repeats = 1.5: must be a whole number",
    "three sizes": "dataset 1: resolution = [512, 512, 512]: must be",
    "text resolution": 'dataset 1: resolution = "512": write 512, without quotes',
    "fractional resolution": "dataset 1: resolution = 512.0: must be one whole number",
    "mixed kinds in one dataset": "dataset 1: subsets with a metadata_file and subsets without one cannot be mixed",
    "no datasets": "it describes no dataset",
    "empty file": "it describes no dataset",
    "no resolution anywhere": "dataset 1: resolution is missing",
    "minimum above resolution": "min_bucket_reso 640 must not exceed the resolution 512x512",
    "maximum below resolution": "max_bucket_reso 256 must not be below the resolution 512x512",
    "steps not a multiple of 64": "bucket_reso_steps 48: SD 1.x needs a multiple of 64 pixels",
    "unknown interpolation": "dataset 1: resize_interpolation = bilinearr: must be one of",
    "broken syntax": "is not valid TOML",
    "general key in the wrong place": "dataset 1: is_reg belongs in [[datasets.subsets]]",
    "conditioning folder without masked loss": "dataset 1, subset 1: conditioning_data_dir, a folder of masks, needs",
    "option-only key": "[general]: there is no key prior_loss_weight",
    "face range with three numbers": "dataset 1, subset 1: face_crop_aug_range = [1.0, 2.0, 3.0]: must be two numbers",
    "metadata file missing": "metadata file 'missing.json': No such file",
    "datasets not a list": "it describes no dataset; add [[datasets]]",
}


@pytest.mark.parametrize(("name", "case"), numbered(TABLE["invalid"], "name"))
def test_refused_file(name, case, tmp_path, monkeypatch):
    problems = problems_of(case, tmp_path, monkeypatch)
    assert [problem for problem in problems if REFUSALS.get(name, "") in problem]


MEANT = {
    "whole number for a decimal": ("validation_split", 1.0),
    "face range in whole numbers": ("face_crop_aug_range", (1.0, 3.0)),
    "validation keys in a subset": ("validation_split", 0.1),
}


@pytest.mark.parametrize(("name", "case"), numbered(TABLE["reference_faults"]["wrongly_refused"], "name"))
def test_what_is_plainly_meant_is_understood(name, case, tmp_path):
    _, found = read(case, tmp_path)
    assert found.problems == ()
    if name in MEANT:
        key, value = MEANT[name]
        assert getattr(found.datasets[0].subsets[0], key) == value


SHOULD_BE_REFUSED = {
    "truth value as number": "dataset 1: batch_size = true: must be a whole number",
    "negative batch": "dataset 1: batch_size = -2: must be at least 1",
    "dropout above one": "dataset 1, subset 1: caption_dropout_rate = 1.5: must be at most 1",
    "unknown interpolation in subset only": "dataset 1, subset 1: resize_interpolation = bogus: must be one of",
}
HAVE_AN_EFFECT_HERE = ("network_multiplier", "face_crop_aug_range")
"""Keys that the reference ignores; both are tested where they act."""


@pytest.mark.parametrize(("name", "case"), numbered(TABLE["reference_faults"]["wrongly_accepted"], "name"))
def test_nothing_is_accepted_and_then_ignored(name, case, tmp_path):
    resolved, found = read(case, tmp_path)
    if any(key in case["toml"] for key in HAVE_AN_EFFECT_HERE):
        assert found.problems == ()
        assert_as_listed(found, resolved, case["datasets"])
    else:
        (problem,) = found.problems
        assert SHOULD_BE_REFUSED.get(name, "") in problem


def test_the_table_is_complete():
    faults = TABLE["reference_faults"]
    assert len(TABLE["cases"]) >= 10
    assert len(TABLE["invalid"]) >= 10
    assert len(faults["wrongly_refused"]) >= 1
    assert len(faults["wrongly_accepted"]) >= 1
