"""Datasets and their subsets: from a dataset file, or from the options of a run alone.

A value is looked up in the subset, then in its dataset, then in [general], then among the options of the
run (command line, configuration file), then in the defaults.
"""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from library.errors import UserError
from library.options.config_file import read_text, read_toml
from library.options.dataset_settings import (
    DATASET_KEYS,
    NOT_OF_RUN,
    RENAMED,
    SUBSET_KEYS,
    SUBSET_ONLY,
    DatasetSettings,
    SubsetSettings,
)
from library.options.findings import Finding, Problem
from library.options.resolution import ResolvedOptions
from library.options.schema import OptionSpec
from library.options.strict_json import parse_json
from library.options.subset_rules import check_dataset, check_subset
from library.options.suggestions import suggest
from library.wording import as_in_file


@dataclass(frozen=True)
class ResolvedDatasets:
    datasets: tuple[DatasetSettings, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Table:
    """One table of a dataset file."""

    place: str
    """How messages name it; empty when there is no file."""
    entries: Mapping[str, Any]

    def has(self, name: str) -> bool:
        """JSON's null means the same as leaving a key out."""
        return self.entries.get(name) is not None


@dataclass(frozen=True)
class _Reader:
    """Looks values up and collects what there is to say about them."""

    of_run: Mapping[str, Any]
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def dataset(self, table: _Table, general: _Table) -> DatasetSettings:
        self.report_unknown_keys(table, {**DATASET_KEYS, **SUBSET_KEYS, "subsets": None}, without=SUBSET_ONLY)
        tables = table.entries.get("subsets", [])
        if table.place and not _are_tables(tables):
            self.problems.append(f"{table.place}: it has no subset; add [[datasets.subsets]] with an image_dir")
            tables = []
        self.report(table.place, check_dataset(table.entries, tables))
        places = [f"{table.place}, subset {number}" if table.place else "" for number in range(1, len(tables) + 1)]
        subsets = [
            self.subset(_Table(place, entries), table, general) for place, entries in zip(places, tables, strict=True)
        ]
        values = self.look_up(DATASET_KEYS, (table, general))
        written = table.has("resolution") or general.has("resolution")
        if values["resolution"] is None and table.place and not written:
            self.problems.append(f"{table.place}: resolution is missing; give it there or as --resolution")
        return DatasetSettings.model_construct(**values, subsets=tuple(subset for subset in subsets if subset))

    def subset(self, table: _Table, dataset: _Table, general: _Table) -> SubsetSettings | None:
        """None when it does not say where its images are, or not in a way that can be understood."""
        self.report_unknown_keys(table, SUBSET_KEYS)
        values = self.look_up(SUBSET_KEYS, (table, dataset, general))
        if any(table.has(name) and not _names_a_path(table.entries[name]) for name in ("image_dir", "metadata_file")):
            return None
        if not table.has("image_dir"):
            if not table.has("metadata_file"):
                self.problems.append(f"{table.place}: image_dir is missing")
                return None
            values["image_dir"] = (values["metadata_file"] or Path()).parent
        settings = SubsetSettings.model_construct(**values)
        self.report(table.place, check_subset(table.entries, settings, self.of_run["masked_loss"]))
        return settings

    def look_up(self, keys: Mapping[str, OptionSpec], tables: tuple[_Table, ...]) -> dict[str, Any]:
        """For every key the value of the first table that has it, else that of the run."""
        values = {}
        for name, spec in keys.items():
            values[name] = self.of_run.get(RENAMED.get(name, name), spec.default)
            table = next((table for table in tables if table.has(name)), None)
            if table is not None:
                values[name] = self.parsed(spec, table, values[name])
        return values

    def parsed(self, spec: OptionSpec, table: _Table, fallback: Any) -> Any:
        raw = table.entries[spec.name]
        try:
            value = raw if isinstance(raw, Path) else spec.parse_toml(raw)
            _refuse_quoted_numbers(spec, raw)
            _refuse_unusable_paths(spec, raw)
        except ValueError as error:
            self.problems.append(f"{table.place}: {spec.name} = {as_in_file(raw)}: {error}")
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
                self.problems.append(f"{table.place}: there is no key {name}.{self.hint(name, allowed)}")
            elif name in without:
                self.problems.append(f"{table.place}: {name} belongs in [[datasets.subsets]]")

    def hint(self, name: str, allowed: Mapping[str, Any]) -> str:
        """What may have been meant instead of a key that there is not."""
        renamed = next((key for key, option in RENAMED.items() if option == name), None)
        if renamed is not None:
            return f" It is called {renamed} here"
        return suggest(name, allowed) or (f" It is an option of the run: --{name}" if name in self.of_run else "")

    def report(self, place: str, findings: typing.Iterable[Finding]) -> None:
        for finding in findings:
            collected = self.problems if isinstance(finding, Problem) else self.warnings
            collected.append(f"{place}: {finding.text}")


def datasets_from_file(path: Path, run: ResolvedOptions) -> ResolvedDatasets:
    """Reads a dataset file, TOML or JSON; every problem names its place in the file."""
    try:
        content = _read(path)
    except UserError as error:
        return ResolvedDatasets((), error.problems)
    reader = _Reader(_values_of_run(run), _unknown_sections(content))
    general_entries = content.get("general")
    if general_entries is None:
        general_entries = {}
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
    return ResolvedDatasets(tuple(datasets), _each_once(path, reader.problems), _each_once(path, reader.warnings))


def dataset_from_subsets(subsets: Sequence[Mapping[str, Any]], run: ResolvedOptions) -> DatasetSettings:
    """One dataset without a file: `subsets` say what is their own, such as folders; the run's options the rest."""
    return _Reader(_values_of_run(run)).dataset(_Table("", {"subsets": list(subsets)}), _Table("", {}))


def _read(path: Path) -> dict[str, Any]:
    """
    Raises:
        UserError: there is no such file, or its suffix or content is neither TOML's nor JSON's.
    """
    suffix = path.suffix.lower()
    if suffix == ".toml":
        return read_toml(path, "dataset_config")
    if suffix != ".json":
        raise UserError(f"--dataset_config '{path}': its name must end in .toml or .json, which says what it holds")
    try:
        content = parse_json(read_text(path, "dataset_config"))
    except ValueError as error:
        raise UserError(f"--dataset_config: '{path}' is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"--dataset_config: '{path}' must hold one object, with the keys general and datasets")
    return content


def _values_of_run(run: ResolvedOptions) -> dict[str, Any]:
    values = run.values()
    for name in NOT_OF_RUN:
        del values[name]
    if values["caption_extention"] is not None:
        values["caption_extension"] = values["caption_extention"]
    return values


def _are_tables(value: Any) -> bool:
    """Whether this is what [[double brackets]] make."""
    return isinstance(value, list) and bool(value) and all(isinstance(table, dict) for table in value)


def _refuse_quoted_numbers(spec: OptionSpec, raw: Any) -> None:
    """On a command line all is text; in a file a pair of numbers is a list."""
    if isinstance(raw, str) and typing.get_origin(spec.value_type) is tuple:
        raise ValueError(f"write {f'[{raw}]' if ',' in raw else raw}, without quotes")


def _refuse_unusable_paths(spec: OptionSpec, raw: Any) -> None:
    """An empty path would be the current folder."""
    if spec.value_type is Path and not _names_a_path(raw):
        raise ValueError("must name a file or a folder")


def _names_a_path(raw: Any) -> bool:
    return isinstance(raw, Path) or (isinstance(raw, str) and raw != "" and "\0" not in raw)


def _unknown_sections(content: Mapping[str, Any]) -> list[str]:
    sections = ("general", "datasets")
    return [
        f"[{name}] is not known; a dataset file has [general] and [[datasets]] only.{suggest(name, sections)}"
        for name in content
        if name not in sections
    ]


def _each_once(path: Path, texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{path.name}: {text}" for text in texts))
