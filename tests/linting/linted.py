"""Datasets with faults, and their check as a user would make it."""

from pathlib import Path

import cv2
import numpy as np

from library.dataset.findings import Findings
from library.linting.linted_datasets import find_datasets
from library.linting.linter import LintReport, LintRules, lint


def picture(seed: int, width: int = 96, height: int = 64) -> np.ndarray:
    """uint8 (height, width, 3): soft shapes, different for each seed."""
    spots = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC)


def count_words(captions) -> list[int]:
    return [len(caption.split()) for caption in captions]


def check(*arguments: str | Path, trigger: str | None = None, max_tokens: int = 75) -> LintReport:
    """With words for tokens, so that no tokenizer need be made."""
    data = find_datasets([str(argument) for argument in arguments])
    refused = Findings()
    datasets = data.scan(refused)
    rules = LintRules(data.folders, data.has_resolution, trigger, max_tokens)
    return lint(datasets, refused.problems, rules, count_words, lambda facts, total: facts)


def found(report: LintReport, code: str) -> dict[str, str]:
    """Names of the files of each finding of a kind -> its message."""
    return {
        ", ".join(sorted(path.name for path in finding.files)): finding.message
        for finding in report.findings
        if finding.kind.code == code
    }


def codes(report: LintReport) -> set[str]:
    return {finding.kind.code for finding in report.findings}
