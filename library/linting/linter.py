"""All checks of a dataset, and what they found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from library.dataset.images.image_index import ImageIndex
from library.dataset.records import Dataset
from library.linting import kinds
from library.linting.caption_checks import Count, caption_findings, overlong_findings
from library.linting.duplicate_checks import duplicate_findings
from library.linting.folder_checks import folder_findings
from library.linting.image_checks import image_findings
from library.linting.image_facts import ImageFacts, Progress, inspect_images
from library.linting.inventory import Inventory, take_inventory
from library.linting.kinds import Finding, Severity
from library.linting.mask_checks import mask_findings
from library.linting.size_checks import ratio_findings, size_findings
from library.linting.tag_checks import tag_findings
from library.linting.trigger_word import Trigger, find_trigger, trigger_findings


@dataclass(frozen=True)
class LintRules:
    folders: tuple[Path, ...]
    """named by the user: what else lies there is looked at, too"""
    checks_sizes: bool
    """False = no training size is known"""
    trigger: str | None
    """None = to be guessed"""
    max_tokens: int
    """of a caption"""


@dataclass(frozen=True)
class LintReport:
    inventory: Inventory
    facts: dict[Path, ImageFacts]
    trigger: Trigger | None
    findings: tuple[Finding, ...]
    """by topic, in the order of the kinds"""

    def count(self, severity: Severity) -> int:
        return sum(finding.kind.severity is severity for finding in self.findings)


def lint(
    datasets: Sequence[Dataset], refused: Sequence[str], rules: LintRules, count: Count, progress: Progress
) -> LintReport:
    """
    Args:
        refused: why training would not start, as it would say itself.
        count: tokens of captions.
    """
    inventory = take_inventory(datasets)
    facts = inspect_images(list(inventory.by_path), ImageIndex(), progress)
    captions = inventory.captions()
    trigger = find_trigger(captions, rules.trigger)
    findings = [
        *(Finding(kinds.RUN_REFUSED, (), text) for text in refused),
        *folder_findings(inventory, rules.folders),
        *image_findings(facts),
        *duplicate_findings(inventory, facts),
        *(size_findings(inventory, facts) if rules.checks_sizes else ()),
        *ratio_findings(facts),
        *caption_findings(inventory, facts),
        *overlong_findings(captions, count, rules.max_tokens),
        *(trigger_findings(captions, trigger) if trigger else ()),
        *tag_findings(captions),
        *mask_findings(inventory, facts),
    ]
    order = {kind: place for place, kind in enumerate(kinds.all_kinds())}
    unique = {(finding.kind, finding.files, finding.message): finding for finding in findings}
    return LintReport(
        inventory, facts, trigger, tuple(sorted(unique.values(), key=lambda finding: order[finding.kind]))
    )
