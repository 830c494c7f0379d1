"""Command line, configuration file and defaults -> settings, with the origin of every value."""

from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from library.errors import UserError
from library.options.combinations import check_combinations
from library.options.command_line import parse_command_line
from library.options.config_file import config_path, flatten, read_toml
from library.options.declaration import HIDDEN
from library.options.schema import OptionSpec, Settings, all_options, option_groups
from library.wording import as_in_file, visible

COMMAND_LINE = "command line"
DEFAULT = "default"


@dataclass(frozen=True)
class ResolvedOptions:
    settings: Settings
    origins: dict[str, str]
    """Option name -> 'command line', the configuration file, or 'default'."""
    problems: tuple[str, ...] = ()
    """What is wrong; nothing may be started while there are any."""
    warnings: tuple[str, ...] = ()
    """What is allowed, but probably not what the user thinks."""

    @property
    def given(self) -> frozenset[str]:
        """Options that were written down anywhere, also to switch them off."""
        return frozenset(name for name, origin in self.origins.items() if origin != DEFAULT)

    def values(self) -> dict[str, Any]:
        """Option name -> value."""
        return {name: getattr(getattr(self.settings, spec.group), name) for name, spec in all_options().items()}

    def changed(self) -> dict[str, Any]:
        """Option name -> value of those that do not have their default."""
        return {name: value for name, value in self.values().items() if value != all_options()[name].default}


@dataclass(frozen=True)
class _Given:
    """An option as it was written, in the place that wins."""

    raw: Any
    parse: Callable[[Any], Any]
    origin: str
    place: str
    """How a message names it."""

    @property
    def shown(self) -> str:
        """The value as it stands in a message: on a command line, nothing is in quotes."""
        if self.origin != COMMAND_LINE:
            return as_in_file(self.raw)
        return visible(" ".join(self.raw) if self.raw and isinstance(self.raw, (list, tuple)) else str(self.raw))


def resolve_options(parser: ArgumentParser, arguments: Sequence[str]) -> ResolvedOptions:
    """The command line beats the configuration file, which beats the defaults; every problem is collected."""
    command_line = parse_command_line(parser, arguments)
    from_file, file_problems = _from_config_file(command_line.given)
    given = from_file | _from_command_line(command_line.given)
    values, value_problems = _parse_all(given)
    settings = _settings(values)
    findings = check_combinations(settings, command_line.incomplete.union(given))
    return ResolvedOptions(
        settings,
        origins={name: given[name].origin if name in given else DEFAULT for name in all_options()},
        problems=(*command_line.problems, *file_problems, *value_problems, *findings.problems),
        warnings=findings.warnings,
    )


def _from_command_line(typed: dict[str, Any]) -> dict[str, _Given]:
    given = {}
    for name, text in typed.items():
        spec = all_options()[name]
        if _is_empty_path(spec, text):
            continue
        parse = bool if spec.is_flag else spec.parse_text
        given[name] = _Given(text, parse, COMMAND_LINE, f"--{name}")
    return given


def _from_config_file(typed: dict[str, Any]) -> tuple[dict[str, _Given], list[str]]:
    if "config_file" not in typed or typed.get("output_config"):
        return {}, []
    path = config_path(Path(typed["config_file"]))
    try:
        entries, problems = flatten(read_toml(path, "config_file"))
    except UserError as error:
        return {}, list(error.problems)
    given = {
        name: _Given(entry, all_options()[name].parse_toml, path.name, f"{path.name}: {name}")
        for name, entry in entries.items()
        if not _is_empty_path(all_options()[name], entry)
    }
    return given, [f"{path.name}: {problem}" for problem in problems]


def _is_empty_path(spec: OptionSpec, raw: Any) -> bool:
    """An empty path, as from an unset shell variable, means that none is given - not the current folder."""
    return spec.value_type is Path and raw == ""


def _parse_all(given: dict[str, _Given]) -> tuple[dict[str, Any], list[str]]:
    """The values that fit and can be used, and what is wrong with the others."""
    values, problems = {}, []
    for name, entry in given.items():
        spec = all_options()[name]
        try:
            value = entry.parse(entry.raw)
        except ValueError as error:
            problems.append(f"{entry.place} {HIDDEN if spec.traits.secret else entry.shown}: {error}")
            continue
        refusal = spec.refusal(value)
        if refusal:
            problems.append(f"{entry.place}: {refusal}")
        else:
            values[name] = value
    return values, problems


def _settings(values: dict[str, Any]) -> Settings:
    """Values were checked one by one already, so that the groups are built without checking them again."""
    built: dict[str, Any] = {}
    for group, model in option_groups().items():
        names = [name for name in model.model_fields if name in values]
        built[group] = model.model_construct(**{name: values[name] for name in names})
    return Settings.model_construct(**built)
