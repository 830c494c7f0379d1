"""Datasets and their subsets: from a dataset file, or from the command line alone.

A value is looked up in the subset, then in its dataset, then in [general], then among the options of the
run (command line, configuration file), then in the defaults.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from library.errors import UserError
from library.options.config_file import read_toml
from library.options.declaration import option
from library.options.groups import AugmentationOptions, BucketOptions, CaptionOptions
from library.options.groups.dataset import DATASETS
from library.options.groups.monitoring import VALIDATION
from library.options.resolution import ResolvedOptions
from library.options.schema import OptionSpec, specs_of
from library.options.suggestions import suggest


class SubsetSettings(CaptionOptions, AugmentationOptions):
    """One folder of images and how they are used."""

    image_dir: Path = option(Path(), help="Folder with the images; sub-folders are not searched.")
    num_repeats: int = option(1, ge=0, unit="repeats", help="How often each image is used in an epoch.")
    is_reg: bool = option(False, help="The images are regularisation images.")
    class_tokens: str | None = option(help="Caption of images without a caption file.")
    custom_attributes: dict[str, Any] | None = option(help="Attributes for the training method.", pending=DATASETS)
    cache_info: bool = option(False, help="Keep image sizes and captions in a file.", pending=DATASETS)
    metadata_file: Path | None = option(help="JSON file that lists images and captions.", pending=DATASETS)
    conditioning_data_dir: Path | None = option(help="Folder with one mask per image.", pending="masked loss")


class DatasetSettings(BucketOptions):
    """Subsets that share a resolution and a batch size."""

    batch_size: int = option(1, ge=1, unit="images", help="Images per batch and device.")
    network_multiplier: float = option(1.0, help="Strength of the network for these images.", pending=DATASETS)
    validation_split: float = option(0.0, ge=0, le=1, help="Share of the images held out.", pending=VALIDATION)
    validation_seed: int | None = option(ge=0, help="Seed of that choice.", pending=VALIDATION)
    subsets: tuple[SubsetSettings, ...] = ()


@dataclass(frozen=True)
class ResolvedDatasets:
    datasets: tuple[DatasetSettings, ...]
    problems: tuple[str, ...]


SUBSET_KEYS = {name: spec for name, spec in specs_of(SubsetSettings, "subset").items() if name != "caption_extention"}
DATASET_KEYS = {name: spec for name, spec in specs_of(DatasetSettings, "dataset").items() if name != "subsets"}
SUBSET_ONLY = frozenset({"image_dir", "is_reg", "alpha_mask", "metadata_file", "conditioning_data_dir"})
RENAMED = {"batch_size": "train_batch_size", "num_repeats": "dataset_repeats"}
"""Keys of a dataset file -> the option of the run that stands in for them."""


@dataclass(frozen=True)
class _Table:
    """One table of a dataset file."""

    place: str
    """How messages name it; empty when there is no file."""
    entries: Mapping[str, Any]


@dataclass(frozen=True)
class _Reader:
    """Looks values up and collects what is wrong."""

    of_run: Mapping[str, Any]
    problems: list[str]

    def dataset(self, table: _Table, general: _Table) -> DatasetSettings:
        self.report_unknown_keys(table, {**DATASET_KEYS, **SUBSET_KEYS, "subsets": None}, without=SUBSET_ONLY)
        subsets = table.entries.get("subsets", [])
        if table.place and not _are_tables(subsets):
            self.problems.append(f"{table.place}: it has no subset; add [[datasets.subsets]] with an image_dir")
            subsets = []
        built = []
        for number, entries in enumerate(subsets, 1):
            place = f"{table.place}, subset {number}" if table.place else str(entries["image_dir"])
            built.append(self.subset(_Table(place, entries), table, general))
        values = self.look_up(DATASET_KEYS, (table, general))
        written = "resolution" in table.entries or "resolution" in general.entries
        if values["resolution"] is None and table.place and not written:
            self.problems.append(f"{table.place}: resolution is missing; give it there or as --resolution")
        return DatasetSettings.model_construct(**values, subsets=tuple(built))

    def subset(self, table: _Table, dataset: _Table, general: _Table) -> SubsetSettings:
        self.report_unknown_keys(table, SUBSET_KEYS)
        if "image_dir" not in table.entries:
            self.problems.append(f"{table.place}: image_dir is missing")
        return SubsetSettings.model_construct(**self.look_up(SUBSET_KEYS, (table, dataset, general)))

    def look_up(self, keys: Mapping[str, OptionSpec], tables: tuple[_Table, ...]) -> dict[str, Any]:
        """For every key the value of the first table that has it, else that of the run."""
        values = {}
        for name, spec in keys.items():
            values[name] = self.of_run.get(RENAMED.get(name, name), spec.default)
            table = next((table for table in tables if name in table.entries), None)
            if table is not None:
                values[name] = self.parsed(spec, table, values[name])
        return values

    def parsed(self, spec: OptionSpec, table: _Table, fallback: Any) -> Any:
        raw = table.entries[spec.name]
        try:
            value = raw if isinstance(raw, Path) else spec.parse_toml(raw)
        except ValueError as error:
            self.problems.append(f"{table.place}: {spec.name} = {raw}: {error}")
            return fallback
        refusal = spec.refusal(value)
        if refusal:
            self.problems.append(f"{table.place}: {spec.name}: {refusal}")
        return fallback if refusal else value

    def report_unknown_keys(
        self, table: _Table, allowed: Mapping[str, Any], without: frozenset[str] = frozenset()
    ) -> None:
        for name in table.entries:
            if name not in allowed and name in DATASET_KEYS:
                self.problems.append(f"{table.place}: {name} belongs in [[datasets]]")
            elif name not in allowed:
                self.problems.append(f"{table.place}: there is no key {name}.{suggest(name, allowed)}")
            elif name in without:
                self.problems.append(f"{table.place}: {name} belongs in [[datasets.subsets]]")


def datasets_from_file(path: Path, run: ResolvedOptions) -> ResolvedDatasets:
    """Reads a dataset file; every problem names its place in the file."""
    try:
        content = read_toml(path, "dataset_config")
    except UserError as error:
        return ResolvedDatasets((), error.problems)
    reader = _Reader(_values_of_run(run), _unknown_sections(content))
    general_entries = content.get("general", {})
    if not isinstance(general_entries, dict):
        reader.problems.append("general must be one table, with the heading [general]")
        general_entries = {}
    general = _Table("[general]", general_entries)
    reader.report_unknown_keys(general, {**DATASET_KEYS, **SUBSET_KEYS}, without=SUBSET_ONLY)
    tables = content.get("datasets", [])
    if not _are_tables(tables):
        reader.problems.append("it describes no dataset; add [[datasets]] with [[datasets.subsets]] in it")
        tables = []
    datasets = [reader.dataset(_Table(f"dataset {number}", table), general) for number, table in enumerate(tables, 1)]
    unique_problems = dict.fromkeys(f"{path.name}: {problem}" for problem in reader.problems)
    return ResolvedDatasets(tuple(datasets), tuple(unique_problems))


def dataset_from_folders(subsets: Sequence[Mapping[str, Any]], run: ResolvedOptions) -> DatasetSettings:
    """One dataset without a file: `subsets` say what the folder names say, the run's options the rest."""
    return _Reader(_values_of_run(run), []).dataset(_Table("", {"subsets": list(subsets)}), _Table("", {}))


def _values_of_run(run: ResolvedOptions) -> dict[str, Any]:
    values = run.values()
    if values["caption_extention"] is not None:
        values["caption_extension"] = values["caption_extention"]
    return values


def _are_tables(value: Any) -> bool:
    """Whether this is what [[double brackets]] make."""
    return isinstance(value, list) and bool(value) and all(isinstance(table, dict) for table in value)


def _unknown_sections(content: Mapping[str, Any]) -> list[str]:
    sections = ("general", "datasets")
    return [
        f"[{name}] is not known; a dataset file has [general] and [[datasets]] only.{suggest(name, sections)}"
        for name in content
        if name not in sections
    ]
