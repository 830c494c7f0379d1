"""Options from, and to, a TOML file."""

import json
import tomllib
from pathlib import Path
from typing import Any

from library.errors import UserError
from library.options.network_argument_names import explain_unknown_option
from library.options.schema import all_options


def config_path(given: Path) -> Path:
    """`settings` means `settings.toml`, as users of other trainers are used to."""
    return given if given.suffix.lower() == ".toml" else given.with_name(given.name + ".toml")


def read_toml(path: Path, option: str) -> dict[str, Any]:
    """A TOML file as nested dictionaries.

    Raises:
        UserError: there is no such file, or it is not TOML; names the option and the line.
    """
    text = read_text(path, option)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = "; write Windows paths in single quotes" if "\\" in text else ""
        raise UserError(f"--{option}: '{path}' is not valid TOML: {error}{hint}") from None


def read_text(path: Path, option: str) -> str:
    """UTF-8 text, with or without a byte-order mark.

    Raises:
        UserError: there is no such file, or it is not UTF-8; names the option.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"--{option}: cannot read '{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"--{option}: '{path}' is not UTF-8 text; save it again as UTF-8") from None


def flatten(content: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Tables are only for order: their keys count as if they stood at the top. Also returns problems."""
    flat: dict[str, Any] = {}
    problems = []
    for key, value in content.items():
        entries = value if isinstance(value, dict) else {key: value}
        arguments = _arguments_in_table(key, value)
        if arguments:
            problems.append(f"{key}: must be a list of texts, not a table: {key} = {_toml_value(arguments)}")
        for name, entry in entries.items():
            if arguments and name not in all_options():
                continue
            if name in flat:
                problems.append(f"{name} is set twice")
            flat[name] = entry
    for name in list(flat):
        if name not in all_options():
            problems.append(explain_unknown_option(name, all_options()))
            del flat[name]
    return flat, problems


def _arguments_in_table(key: str, value: Any) -> list[str]:
    """key=value for whatever is no option in a table that has the name of an option with arguments."""
    if not isinstance(value, dict) or key not in all_options() or not all_options()[key].is_arguments:
        return []
    return [f"{name}={_as_argument(entry)}" for name, entry in value.items() if name not in all_options()]


def _as_argument(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def to_toml(values: dict[str, Any]) -> str:
    """Options by name -> text of a file that reads back as the same options."""
    return "".join(f"{name} = {_toml_value(value)}\n" for name, value in values.items())


def _toml_value(value: Any) -> str:
    """Options are numbers, truth values, texts, paths and lists of them, which TOML writes as JSON does."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    return text.replace("\x7f", "\\u007f")  # the one character that JSON leaves as it is and TOML forbids
