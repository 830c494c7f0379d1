"""The command that reports on image losses: its options, what is printed and written, the exit code."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from library.atomic_files import atomic_path, write_text_atomically
from library.console import set_up_console, show
from library.errors import UserError, format_problems
from library.options.groups import ConsoleOptions
from library.training.image_loss_report.difficulty import Difficulties, TimestepBins, difficulties, fine_bins
from library.training.image_loss_report.loss_table import ImageLossTable, read_table
from library.training.image_loss_report.text_report import report_lines

SUCCESS = 0
USER_ERROR = 1
IMAGES_SHOWN = 10
PICTURE = ".png"
PAGE = ".html"


def run_image_losses_command(description: str, words: Sequence[str]) -> int:
    """Returns the process's exit code."""
    options = _build_parser(description).parse_args(words)
    set_up_console(ConsoleOptions())
    try:
        _report(options.file, options.output, options.images)
    except UserError as error:
        show(format_problems(error.problems), sys.stderr)
        return USER_ERROR
    return SUCCESS


def _build_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("file", type=Path, help="NAME-image-losses.csv, which training writes with --log_image_losses")
    add("--output", type=Path, metavar="PAGE", help="file to write: .png = the picture, .html = picture and all images")
    add(
        "--images",
        type=_count,
        default=IMAGES_SHOWN,
        metavar="N",
        help="shown of the hardest, and of the easiest; default: %(default)s",
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number, 1 or above")
    return int(text)


def _report(file: Path, output: Path | None, most: int) -> None:
    if output is not None and output.suffix.lower() not in (PICTURE, PAGE):
        raise UserError(f"--output '{output}': must end in {PICTURE} or {PAGE}")
    table = read_table(file)
    usual = fine_bins(table)
    found = difficulties(table, usual)
    show("\n".join(report_lines(file, table, found, most)))
    if output is not None:
        _write(output, file, table, usual, found, most)
        show(f"\nWrote {output}")


def _write(
    output: Path, file: Path, table: ImageLossTable, usual: TimestepBins, found: Difficulties, most: int
) -> None:
    from library.training.image_loss_report.figure import draw_losses  # matplotlib takes a second to load
    from library.training.image_loss_report.page import report_page

    figure = draw_losses(table, usual, found, most)
    try:
        if output.suffix.lower() == PAGE:
            write_text_atomically(output, report_page(file, table, found, figure))
            return
        with atomic_path(output) as temporary:
            figure.savefig(temporary, format="png", dpi=110)
    except OSError as error:
        raise UserError(f"--output '{output}' cannot be written: {error.strerror or error}") from None
