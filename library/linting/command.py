"""The command that checks a dataset: its options, the checks, what is written, the exit code."""

import argparse
import codecs
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from tqdm import tqdm

from library.atomic_files import write_text_atomically
from library.console import set_up_console, show
from library.dataset.findings import Findings
from library.errors import UserError, format_problems
from library.linting.backup import carry_out, restore
from library.linting.duplicates_page import duplicates_page
from library.linting.fixes import Refusal, describe, plan_fixes
from library.linting.image_facts import ImageFacts
from library.linting.kinds import Severity
from library.linting.linted_datasets import LintedData, find_datasets
from library.linting.linter import LintReport, LintRules, lint
from library.linting.report_json import report_json
from library.linting.report_text import report_text
from library.models.clip_tokenizer import CaptionTokenizer, standard_clip_tokenizer
from library.wording import counted

SUCCESS = 0
FAULTS_FOUND = 1
USER_ERROR = 2
EXAMPLES = 5
BACKUPS = ".lint_backup"


def build_lint_parser(description: str) -> argparse.ArgumentParser:
    """Of the options that are not those of training."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="%(prog)s [FOLDER] [options] [options of a training command]",
        epilog="All options of the training commands are understood as well: those about images, captions, buckets and "
        "masks say what is checked, the others change nothing.",
    )
    add = parser.add_argument
    add("--trigger", metavar="WORD", help="word that is to call what is trained; default: guessed from the captions")
    add("--strict", action="store_true", help="warnings, too, make the exit code 1")
    add(
        "--examples",
        type=_count,
        default=EXAMPLES,
        metavar="N",
        help="shown of each kind; 0 = all; default: %(default)s",
    )
    add("--format", choices=("text", "json"), default="text", help="of what is printed")
    add("--json", type=Path, metavar="FILE", help="write the findings as JSON, too")
    add("--contact_sheet", type=Path, metavar="FILE", help="write a page (HTML) with the pictures that look alike")
    add("--fix", action="store_true", help="put right what is safe; originals go to the backup folder")
    add(
        "--encoding",
        type=_encoding,
        metavar="NAME",
        help="what caption files are in that are not Unicode, such as cp1252: --fix saves them as UTF-8",
    )
    add("--dry_run", action="store_true", help="only say what --fix would do")
    add(
        "--backup_dir",
        type=Path,
        metavar="FOLDER",
        help=f"for the originals, which get a folder of their own in it; default: {BACKUPS} in FOLDER",
    )
    add("--restore", type=Path, metavar="BACKUP", help="take back what a --fix did, and do nothing else")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number, 0 or above")
    return int(text)


def _encoding(text: str) -> str:
    try:
        "a".encode(text)
    except (LookupError, UnicodeError):
        raise argparse.ArgumentTypeError(f"'{text}' is no encoding; names are such as cp1252 or shift_jis") from None
    return codecs.lookup(text).name


def run_lint_command(description: str, arguments: Sequence[str]) -> int:
    """Returns the process's exit code."""
    options, others = build_lint_parser(description).parse_known_args(arguments)
    try:
        if options.restore is not None:
            return _restore(options.restore)
        if options.encoding is not None and not (options.fix or options.dry_run):
            raise UserError("--encoding says how --fix reads captions; add --fix, or --dry_run to see what it would do")
        data = find_datasets(others)
        set_up_console(data.resolved.settings.console)
        report = _lint(data, options)
        if options.fix or options.dry_run:
            has_changed = _fix(report, data, options)
            report = _lint(data, options) if has_changed else report
        _write(report, options)
    except UserError as error:
        show(format_problems(error.problems), sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return USER_ERROR
    faults = report.count(Severity.ERROR) + (report.count(Severity.WARNING) if options.strict else 0)
    return FAULTS_FOUND if faults else SUCCESS


def _lint(data: LintedData, options: argparse.Namespace) -> LintReport:
    refused = Findings()
    datasets = data.scan(refused)
    text = data.resolved.settings.text
    tokenizer = CaptionTokenizer(standard_clip_tokenizer(), weighted=text.weighted_captions)
    rules = LintRules(data.folders, data.has_resolution, options.trigger, text.max_token_length or tokenizer.limit)
    return lint(datasets, refused.problems, rules, tokenizer.count, _with_progress)


def _restore(backup: Path) -> int:
    """Returns the process's exit code."""
    restored = restore(backup)
    for path in restored.files:
        show(f"restored: {path}")
    for path, last in restored.gone.items():
        show(f"cannot be restored: {path}: it was renamed to {last.name}, which is gone", sys.stderr)
    return FAULTS_FOUND if restored.gone else SUCCESS


def _with_progress(facts: Iterable[ImageFacts], total: int) -> Iterator[ImageFacts]:
    yield from tqdm(facts, total=total, desc="images", unit="", disable=None, leave=False)


def _fix(report: LintReport, data: LintedData, options: argparse.Namespace) -> bool:
    """Whether anything was changed."""
    planned = plan_fixes(report, options.encoding)
    fixes = [fix for fix in planned if not isinstance(fix, Refusal)]
    root = next(iter(data.folders), fixes[0].path.parent if fixes else Path())
    backup = (options.backup_dir or root / BACKUPS) / f"{datetime.now():%Y-%m-%d_%H%M%S}"
    if fixes and not options.dry_run:
        carry_out(fixes, backup)
    if not fixes:
        outcome = "There is nothing that --fix could put right."
    elif options.dry_run:
        outcome = f"{counted(len(fixes), 'file')} would be changed; what takes it back would be kept in '{backup}'"
    else:
        outcome = f"{counted(len(fixes), 'file')} changed; --restore '{backup}' takes it back"
    # as JSON is printed to be read by a program, this is not to be in between
    place = sys.stderr if options.format == "json" else sys.stdout
    show("\n".join([*(describe(fix, options.dry_run) for fix in planned), outcome, ""]), place)
    return bool(fixes) and not options.dry_run


def _write(report: LintReport, options: argparse.Namespace) -> None:
    """
    Raises:
        UserError: a file cannot be written.
    """
    pages = {
        "json": (options.json, report_json),
        "contact_sheet": (options.contact_sheet, duplicates_page),
    }
    for name, (path, make) in pages.items():
        if path is None:
            continue
        try:
            write_text_atomically(path, make(report))
        except OSError as error:
            raise UserError(f"--{name} '{path}' cannot be written: {error.strerror or error}") from None
    if options.format == "json":
        show(report_json(report).rstrip("\n"))
        return
    show(report_text(report, options.examples))
    fixable = sum(not isinstance(fix, Refusal) for fix in plan_fixes(report))
    if fixable and not options.dry_run:
        show(f"{counted(fixable, 'file')} can be put right with --fix; --dry_run shows how")
