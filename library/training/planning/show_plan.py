"""Shows the plan of a run instead of running it."""

from collections.abc import Sequence
from pathlib import Path

from library.atomic_files import atomic_path, write_text_atomically
from library.console import show
from library.errors import UserError
from library.models.family import ModelFamily
from library.options.resolution import ResolvedOptions
from library.training.planning.dataset_preview import write_preview
from library.training.planning.rate_chart import rate_chart
from library.training.planning.report_json import plan_json
from library.training.planning.report_text import UNKNOWN_RATES, plan_text, verdict
from library.training.planning.run_report import RunReport, batch_schedule, build_report
from library.training.preflight import Examination, examine_run


def show_plan(
    resolved: ResolvedOptions,
    families: Sequence[ModelFamily],
    num_processes: int,
    json_file: Path | None = None,
    chart_file: Path | None = None,
) -> None:
    """Prints what is known, whatever is wrong; with --debug_dataset, also writes pages with the pictures.

    Args:
        json_file: gets everything as JSON.
        chart_file: gets the learning rates as a PNG picture.

    Raises:
        UserError: with every problem that would keep the run from starting, after the rest was shown.
    """
    found = examine_run(resolved, families, always_lists_images=True)
    report = build_report(found, num_processes)
    show(plan_text(report))
    problems = list(report.problems)
    if json_file is not None:
        problems += _write(json_file, plan_json(report))
    if chart_file is not None:
        problems += _draw(chart_file, report)
    if resolved.settings.data.debug_dataset:
        problems += _write_preview(found, report, num_processes)
    show(verdict(report))
    if problems:
        raise UserError(problems)


def _write_preview(found: Examination, report: RunReport, num_processes: int) -> Sequence[str]:
    """Problems."""
    schedule = batch_schedule(found, num_processes)
    if schedule is None:
        return []
    try:
        output_dir = found.resolved.settings.saving.output_dir or Path()
        lines = write_preview(schedule, found.pictures, output_dir, rate_chart(report))
    except UserError as error:
        return error.problems
    show("\n".join([*lines, ""]))
    return []


def _draw(path: Path, report: RunReport) -> list[str]:
    """Problems."""
    picture = rate_chart(report)
    if picture is None:
        return [] if report.problems else [f"--draw_schedule: {UNKNOWN_RATES}"]
    try:
        with atomic_path(path) as temporary:
            picture.save(temporary, format="PNG")
    except OSError as error:
        return [f"--draw_schedule '{path}' cannot be written: {error.strerror or error}"]
    show(f"Wrote {path}\n")
    return []


def _write(path: Path, text: str) -> list[str]:
    """Problems."""
    try:
        write_text_atomically(path, text)
    except OSError as error:
        return [f"--json '{path}' cannot be written: {error.strerror or error}"]
    show(f"Wrote {path}\n")
    return []
