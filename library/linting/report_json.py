"""What a check found, for programs.

{
  "version": 1,
  "summary": {"images", "captions", "errors", "warnings", "infos"},
  "trigger": {"word", "guessed"} or null,
  "findings": [{"code", "severity", "files", "message", "details"}]
}

Codes and the names of details stay what they are; new ones may be added. Files are absolute paths; the first is the one
that the finding is about.
"""

import json
from typing import Any

from library.linting.kinds import Finding, Severity
from library.linting.linter import LintReport

VERSION = 1


def report_json(report: LintReport) -> str:
    content = {
        "version": VERSION,
        "summary": {
            "images": len(report.facts),
            "captions": len(report.inventory.captions()),
            **{f"{severity}s": report.count(severity) for severity in Severity},
        },
        "trigger": report.trigger and {"word": report.trigger.word, "guessed": report.trigger.is_guessed},
        "findings": [_finding(finding) for finding in report.findings],
    }
    return json.dumps(content, indent=2) + "\n"


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.kind.code,
        "severity": finding.kind.severity.value,
        "files": [str(path.absolute()) for path in finding.files],
        "message": finding.message,
        "details": finding.details,
    }
