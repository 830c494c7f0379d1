"""What a check found, for people."""

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from library.linting.inventory import Role
from library.linting.kinds import Finding, Kind, Severity
from library.linting.linter import LintReport
from library.linting.trigger_word import GUESSED_FROM
from library.wording import counted, listed

_HEADINGS = {
    Severity.ERROR: "ERRORS: what training leaves out, stops at, or learns wrongly",
    Severity.WARNING: "WARNINGS: probably not what you meant",
    Severity.INFO: "GOOD TO KNOW: nothing has to be done",
}
_COUNTED = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "remark"}
_MOST_FILES_SHOWN = 4
"""Of one group, such as of duplicates."""


def report_text(report: LintReport, examples: int) -> str:
    """
    Args:
        examples: shown of each kind; 0 = all.
    """
    names = _Names([path for finding in report.findings for path in finding.files] + list(report.facts))
    lines = list(_about_inventory(report, names))
    for severity, heading in _HEADINGS.items():
        findings = [finding for finding in report.findings if finding.kind.severity is severity]
        if findings:
            lines += ["", heading]
        for kind, of_kind in groupby(findings, key=lambda finding: finding.kind):
            lines += ["", *_about_kind(kind, list(of_kind), examples, names)]
    return "\n".join([*lines, "", _summary(report)])


class _Names:
    """How files are shown: without the folder that all of them are in."""

    def __init__(self, paths: Sequence[Path]):
        folders = [str(path.absolute().parent) for path in paths]
        self.root = Path(os.path.commonpath(folders)) if folders and _share_a_drive(folders) else None

    def __call__(self, path: Path) -> str:
        return str(path if self.root is None else path.absolute().relative_to(self.root))


def _share_a_drive(folders: Sequence[str]) -> bool:
    return len({os.path.splitdrive(folder)[0] for folder in folders}) == 1


def _about_inventory(report: LintReport, names: _Names) -> Iterator[str]:
    counts = {role: sum(role in roles for roles in report.inventory.roles().values()) for role in Role}
    used = ", ".join(f"{count} for {role}" for role, count in counts.items() if count)
    images = f"{counted(len(report.facts), 'image')}{f' ({used})' if used else ''}"
    where = f" in {names.root}" if names.root is not None else ""
    yield f"Checked {images} and {counted(len(report.inventory.captions()), 'caption')}{where}"
    if report.trigger is None and report.inventory.captions():
        yield "Trigger word: none is in nearly all captions, so it was not looked for; name it with --trigger"
    elif report.trigger is not None and report.trigger.is_guessed:
        yield (
            f"Trigger word: '{report.trigger.word}' (guessed, as at least {GUESSED_FROM:.0%} of the training captions "
            "have it; --trigger names another)"
        )
    elif report.trigger is not None:
        yield f"Trigger word: '{report.trigger.word}'"


def _about_kind(kind: Kind, findings: Sequence[Finding], examples: int, names: _Names) -> Iterator[str]:
    yield f"{kind.code} ({len(findings)})  {kind.meaning}"
    if kind.remedy:
        yield f"    {kind.remedy}"
    shown = findings if examples == 0 else findings[:examples]
    for finding in shown:
        yield f"  - {_about_finding(finding, names)}"
    if len(findings) > len(shown):
        yield f"  - and {len(findings) - len(shown)} more (--examples 0 shows all)"


def _about_finding(finding: Finding, names: _Names) -> str:
    files = listed([names(path) for path in finding.files], _MOST_FILES_SHOWN)
    return ": ".join(part for part in (files, finding.message) if part)


def _summary(report: LintReport) -> str:
    counts = [(report.count(severity), word) for severity, word in _COUNTED.items()]
    if not any(count for count, _ in counts):
        return "Nothing is wrong."
    return ", ".join(counted(count, word) for count, word in counts)
