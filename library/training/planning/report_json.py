"""The plan for other programs to read: every name, every number."""

import json
from dataclasses import asdict

from library.training.planning.run_report import RunReport


def plan_json(report: RunReport) -> str:
    """The fields of the report's classes are the keys. Letters beyond ASCII are escaped: names of files may hold what
    no encoding can write."""
    return json.dumps(asdict(report), indent=2, default=str) + "\n"
