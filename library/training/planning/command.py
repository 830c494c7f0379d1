"""The life of the plan's command: words, options, the plan, exit code."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from library.console import set_up_console, show
from library.errors import UserError, format_problems
from library.options.command_line import build_parser
from library.options.resolution import resolve_options
from library.training.command import INTERRUPTED, SUCCESS, USER_ERROR
from library.training.model_checks import families_of_model
from library.training.planning.launch_line import read_launch_line
from library.training.planning.show_plan import show_plan


def run_plan_command(words: Sequence[str]) -> int:
    """Returns the process's exit code."""
    try:
        line = read_launch_line(words)
        resolved = resolve_options(build_parser("plan.py", ""), line.options)
        resolved = replace(resolved, warnings=(*line.notices, *resolved.warnings))
        set_up_console(resolved.settings.console)
        families = line.families or families_of_model(resolved)
        show_plan(resolved, families, line.num_processes, line.json_file, line.chart_file)
    except UserError as error:
        show(format_problems(error.problems), sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    return SUCCESS
