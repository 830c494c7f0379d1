"""Which images are held out, and that nothing is ever trained on them."""

from pathlib import Path

import pytest

from library.dataset.buckets.aspect_buckets import Placement
from library.dataset.findings import Findings
from library.dataset.records import Dataset, ImageRecord
from library.dataset.scanning.validation_split import num_held_out, split_validation
from library.options.dataset_settings import DatasetSettings, SubsetSettings

SIZE = (64, 64)


def record(path: Path, dataset: int = 0, subset: int = 0, is_reg: bool = False) -> ImageRecord:
    return ImageRecord(
        dataset, subset, path.name, path, SIZE, Placement(SIZE, SIZE, (0, 0)), "", repeats=1, is_reg=is_reg
    )


def make_dataset(paths, number: int = 0, regularisation=(), **settings) -> Dataset:
    records = [record(path, number) for path in paths]
    records += [record(path, number, subset=1, is_reg=True) for path in regularisation]
    subsets = (SubsetSettings(**settings), SubsetSettings())
    return Dataset(DatasetSettings(resolution=SIZE, subsets=subsets), tuple(records))


def images(folder: Path, number: int) -> list[Path]:
    return [folder / f"{index:03}.png" for index in range(number)]


def names(records) -> set[str]:
    return {record.path.name for record in records}


def split(*datasets: Dataset, seed: int = 0):
    findings = Findings()
    return split_validation(datasets, seed, findings), findings


def test_both_parts_together_are_the_whole(tmp_path):
    (dataset,), findings = split(make_dataset(images(tmp_path, 50), validation_split=0.2))
    assert (len(dataset.records), len(dataset.held_out)) == (40, 10)
    assert names(dataset.records) | names(dataset.held_out) == {path.name for path in images(tmp_path, 50)}
    (warning,) = findings.warnings
    assert warning.startswith("held out for validation and not trained on: 10 images; ")


def test_without_a_split_nothing_is_said(tmp_path):
    (dataset,), findings = split(make_dataset(images(tmp_path, 5)))
    assert (len(dataset.records), dataset.held_out, findings) == (5, (), Findings())


def test_a_share_that_holds_out_nothing_is_told(tmp_path):
    datasets, findings = split(*(make_dataset(images(tmp_path, 5), number, validation_split=0.1) for number in (0, 1)))
    assert [len(dataset.held_out) for dataset in datasets] == [0, 0]
    assert findings.warnings == [
        f"validation_split 0.1 holds out 0 of 5 images in '{SubsetSettings().image_dir}'; give a larger share"
    ]


def test_links_that_lead_nowhere_do_not_matter(tmp_path):
    (tmp_path / "000.png").symlink_to(tmp_path / "000.png")
    (dataset,), _ = split(make_dataset(images(tmp_path, 4), validation_split=0.5))
    assert len(dataset.held_out) == 2


def test_the_choice_is_that_of_the_seed(tmp_path):
    def chosen(run_seed: int, **settings) -> set[str]:
        (dataset,), _ = split(make_dataset(images(tmp_path, 50), validation_split=0.2, **settings), seed=run_seed)
        return names(dataset.held_out)

    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)
    assert chosen(1, validation_seed=7) == chosen(2, validation_seed=7)
    assert chosen(1, validation_seed=0) == chosen(0)


def test_it_is_not_the_first_images(tmp_path):
    (dataset,), _ = split(make_dataset(images(tmp_path, 200), validation_split=0.5))
    first_half = sum(int(name[:3]) < 100 for name in names(dataset.held_out))
    assert 30 < first_half < 70


def test_it_hardly_changes_when_an_image_is_added(tmp_path):
    (before,), _ = split(make_dataset(images(tmp_path, 100), validation_split=0.2))
    (after,), _ = split(make_dataset(images(tmp_path, 101), validation_split=0.2))
    assert len(names(before.held_out) & names(after.held_out)) >= 19


def test_an_image_is_held_out_at_every_resolution(tmp_path):
    paths = images(tmp_path, 20)
    datasets, _ = split(make_dataset(paths, 0, validation_split=0.3), make_dataset(paths, 1, validation_split=0.3))
    assert names(datasets[0].held_out) == names(datasets[1].held_out)
    assert len(datasets[0].held_out) == 6


def test_a_dataset_without_a_split_does_not_train_on_what_another_holds_out(tmp_path):
    paths = images(tmp_path, 20)
    datasets, _ = split(make_dataset(paths, 0, validation_split=0.3), make_dataset(paths, 1))
    assert names(datasets[1].records) == names(datasets[0].records)
    assert len(datasets[1].records) == 14


def test_regularisation_images_are_never_held_out(tmp_path):
    regularisation = images(tmp_path / "reg", 10)
    (dataset,), _ = split(make_dataset(images(tmp_path, 10), regularisation=regularisation, validation_split=0.5))
    assert not any(record.is_reg for record in dataset.held_out)
    assert sum(record.is_reg for record in dataset.records) == 10
    assert len(dataset.held_out) == 5


def test_a_held_out_file_is_no_regularisation_image_either(tmp_path):
    paths = images(tmp_path, 10)
    (dataset,), findings = split(make_dataset(paths, regularisation=paths, validation_split=0.5))
    assert not names(dataset.held_out) & names(dataset.records)
    told = findings.warnings[1]
    assert told.startswith("left out, since the same file is held out for validation: 5 regularisation images: ")


def test_links_to_a_held_out_file_are_held_out(tmp_path):
    paths = images(tmp_path, 4)
    for path in paths:
        path.write_text(path.name)
    links = [tmp_path / f"link {number}.png" for number in range(4)]
    for link, path in zip(links, paths, strict=True):
        link.symlink_to(path)
    datasets, _ = split(make_dataset(paths, 0, validation_split=0.5), make_dataset(links, 1))
    assert len(datasets[0].held_out) == len(datasets[1].held_out) == 2


def test_copies_of_a_held_out_file_are_held_out(tmp_path):
    """Files of the same length but another content are not."""
    paths = images(tmp_path, 4)
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number] * 10))
    copies = [tmp_path / f"copy {number}.png" for number in range(4)]
    for copy, path in zip(copies, paths, strict=True):
        copy.write_bytes(path.read_bytes())
    datasets, findings = split(make_dataset(paths, 0, validation_split=0.5), make_dataset(copies, 1))
    numbers = [sorted(record.path.read_bytes()[0] for record in dataset.held_out) for dataset in datasets]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) == 2
    assert findings.warnings[0].startswith("held out for validation and not trained on: 4 images; ")


@pytest.mark.parametrize(
    ("images", "share", "count"), [(15, 0.1, 1), (5, 0.3, 1), (7, 0.5, 3), (10, 1.0, 10), (0, 0.5, 0)]
)
def test_counts_never_overlap(images, share, count):
    assert num_held_out(images, share) == count
