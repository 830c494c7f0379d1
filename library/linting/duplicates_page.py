"""Pictures that are there more than once, side by side on a web page, to decide which to keep."""

import base64
import html
from collections.abc import Iterator
from pathlib import Path

import cv2

from library.dataset.images.image_decoding import read_image
from library.dataset.images.image_files import UnreadableImageError
from library.linting import kinds
from library.linting.kinds import Finding
from library.linting.linter import LintReport
from library.wording import counted, writable

SIDE = 240
"""Pixels of a thumbnail's longer side."""
MOST_GROUPS = 500
MOST_IN_GROUP = 12
_SHOWN = (
    kinds.LEAK_VALIDATION,
    kinds.LEAK_REGULARISATION,
    kinds.DUPLICATE_EXACT,
    kinds.DUPLICATE_NEAR,
    kinds.DUPLICATE_MIRRORED,
)
_STYLE = """
body { font: 14px sans-serif; margin: 2em; background: #fafafa; }
section { border-top: 1px solid #ccc; padding: 1em 0; }
figure { display: inline-block; vertical-align: top; margin: 0 1em 1em 0; max-width: 240px; }
figcaption { overflow-wrap: anywhere; color: #333; }
"""


def duplicates_page(report: LintReport) -> str:
    """HTML in one file, without anything from elsewhere."""
    findings = [finding for finding in report.findings if finding.kind in _SHOWN]
    heading = f"{counted(len(findings), 'group')} of the same or similar pictures"
    if len(findings) > MOST_GROUPS:
        heading += f"; the first {MOST_GROUPS} are shown"
    sections = "\n".join(_section(finding, report) for finding in findings[:MOST_GROUPS])
    return (
        f"<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'><title>{heading}</title>"
        f"<style>{_STYLE}</style></head>\n<body><h1>{heading}</h1>\n{sections}\n</body></html>\n"
    )


def _section(finding: Finding, report: LintReport) -> str:
    text = html.escape(writable(f"{finding.kind.meaning} {finding.message}".strip()))
    figures = "\n".join(_figures(finding, report))
    left_out = len(finding.files) - MOST_IN_GROUP
    more = f"<p>and {left_out} more</p>" if left_out > 0 else ""
    return f"<section><p><b>{finding.kind.code}</b>: {text}</p>\n{figures}{more}</section>"


def _figures(finding: Finding, report: LintReport) -> Iterator[str]:
    for path in finding.files[:MOST_IN_GROUP]:
        width, height = report.facts[path].size
        name = html.escape(writable(str(path)))
        yield (
            f"<figure><img src='data:image/jpeg;base64,{_thumbnail(path)}' alt=''>"
            f"<figcaption>{name}<br>{width}x{height}, {path.stat().st_size / 1024:.0f} KiB</figcaption></figure>"
        )


def _thumbnail(path: Path) -> str:
    """JPEG in base 64; empty if the picture has become unreadable meanwhile."""
    try:
        pixels = read_image(path)
    except UnreadableImageError:
        return ""
    scale = min(1.0, SIDE / max(pixels.shape[:2]))
    size = [max(1, round(side * scale)) for side in (pixels.shape[1], pixels.shape[0])]
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    return base64.b64encode(encoded.tobytes()).decode()
