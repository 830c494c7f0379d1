"""The command line, generated from the option declarations."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from library.options.network_argument_names import explain_unknown_option
from library.options.schema import OptionSpec, all_options, option_groups

_NEGATIVE_NUMBER = re.compile(r"-(\d|\.\d)")
"""argparse itself would take -1e-5 for an option."""

NOTHING_GIVEN = object()
"""Stands for the value of an option that was written without one."""


@dataclass(frozen=True)
class ParsedCommandLine:
    given: dict[str, Any]
    """Option name -> text, tuple of texts, or bool, as typed."""
    incomplete: frozenset[str]
    """Options that were written without the value they need."""
    problems: tuple[str, ...]


class _HelpFormatter(argparse.HelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=34, width=110)

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        """Without brackets: the value may only be left out so that this can be reported with all the rest."""
        return str(action.metavar) if action.nargs == "?" else super()._format_args(action, default_metavar)


def build_parser(program: str, description: str) -> argparse.ArgumentParser:
    """argparse does the splitting and the help text; values are judged later, all at once."""
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        epilog=(
            "Each switch can be turned off again with --no_NAME, for instance when a configuration file turned it on."
        ),
    )
    parser._negative_number_matcher = _NEGATIVE_NUMBER
    for group, model in option_groups().items():
        section = parser.add_argument_group(model.title)
        for spec in all_options().values():
            if spec.group == group:
                _add_option(section, spec)
    return parser


def _add_option(section: Any, spec: OptionSpec) -> None:
    if spec.is_flag:
        section.add_argument(f"--{spec.name}", action="store_true", help=help_text(spec))
        section.add_argument(f"--no_{spec.name}", dest=spec.name, action="store_false", help=argparse.SUPPRESS)
    elif spec.is_list:
        section.add_argument(f"--{spec.name}", nargs="*", metavar="VALUE", help=help_text(spec))
    else:
        metavar = spec.traits.unit.upper().replace(" ", "_") or "VALUE"
        section.add_argument(f"--{spec.name}", nargs="?", const=NOTHING_GIVEN, metavar=metavar, help=help_text(spec))


def help_text(spec: OptionSpec) -> str:
    """The declared help, with choices and default; a percent sign is already doubled for argparse."""
    parts = [spec.help]
    if spec.choices:
        parts.append(f"One of: {', '.join(spec.usable_choices)}.")
    if not spec.is_flag and spec.default not in (None, ""):
        parts.append(f"Default: {spec.default}.")
    if spec.traits.pending:
        parts.append("(Not available yet.)")
    return " ".join(parts)


def parse_command_line(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> ParsedCommandLine:
    """Splits the arguments; what is unknown or incomplete becomes a problem instead of ending the program."""
    words, switch_problems = _without_switch_values(arguments)
    namespace, leftover = parser.parse_known_args(words)
    written = vars(namespace)
    given = {name: value for name, value in written.items() if value is not NOTHING_GIVEN}
    incomplete = [name for name in written if name not in given]
    problems = [f"--{name}: a value is missing" for name in incomplete]
    problems += [*switch_problems, *_explain_leftover(words, leftover)]
    return ParsedCommandLine(given, frozenset(incomplete), tuple(problems))


def _without_switch_values(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Takes out words such as --flip_aug=true, at which argparse would end the program; also returns problems."""
    switches = {
        f"--{prefix}{spec.name}": spec.name for spec in all_options().values() if spec.is_flag for prefix in ("", "no_")
    }
    words, problems = [], []
    for word in arguments:
        option, equals, _ = word.partition("=")
        if equals and option in switches:
            name = switches[option]
            problems.append(f"{word}: a switch takes no value; write --{name} or --no_{name}")
        else:
            words.append(word)
    return words, problems


def _explain_leftover(arguments: Sequence[str], leftover: Sequence[str]) -> list[str]:
    switches = [spec.name for spec in all_options().values() if spec.is_flag]
    known = [*all_options(), *(f"no_{name}" for name in switches)]
    values_of_unknown = _words_after(arguments, [word for word in leftover if word.startswith("--")])
    problems = []
    for word in leftover:
        if word.startswith("--"):
            name = word[2:].split("=", 1)[0]
            problems.append(explain_unknown_option(name, known, "--"))
        elif word not in values_of_unknown:
            problems.append(f"'{word}' belongs to no option; put values that contain spaces in quotes")
    return problems


def _words_after(arguments: Sequence[str], options: Sequence[str]) -> set[str]:
    """The words that follow one of these options directly: values of options that do not exist."""
    words: set[str] = set()
    following = False
    for word in arguments:
        following = word in options or (following and not word.startswith("--"))
        if following:
            words.add(word)
    return words
