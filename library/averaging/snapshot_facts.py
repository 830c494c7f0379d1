"""What is known of a snapshot of averaged weights, as its metadata have it."""

from collections.abc import Mapping
from dataclasses import dataclass

from library.averaging.power_profiles import Profile

TRACKED_WIDTHS = (0.05, 0.10)
"""sigma_rel of the averages that snapshots are made of; others follow from these (arXiv 2312.02696, section 3.2)."""

FOLDER_ENDING = "-snapshots"
"""Of the names of folders that hold the snapshots of a run."""


@dataclass(frozen=True)
class SnapshotFacts:
    run: str
    """A random text, the same in all snapshots of a run."""
    width: float
    """sigma_rel"""
    updates: int
    """optimizer steps averaged over, without those that were skipped"""
    step: int
    """optimizer step after which it was made"""
    every: int
    """steps between snapshots"""

    @property
    def profile(self) -> Profile:
        return Profile(self.width, float(self.updates))

    def metadata(self) -> dict[str, str]:
        return {field: str(getattr(self, name)) for name, field in _FIELDS.items()}

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str]) -> "SnapshotFacts | None":
        """None = they are not those of a snapshot."""
        try:
            return cls(
                run=metadata[_FIELDS["run"]],
                width=float(metadata[_FIELDS["width"]]),
                updates=int(metadata[_FIELDS["updates"]]),
                step=int(metadata[_FIELDS["step"]]),
                every=int(metadata[_FIELDS["every"]]),
            )
        except (KeyError, ValueError):
            return None


WIDTH_FIELD = "ss_ema_sigma_rel"
UPDATES_FIELD = "ss_ema_updates"
_FIELDS = {
    "run": "ss_ema_run",
    "width": WIDTH_FIELD,
    "updates": UPDATES_FIELD,
    "step": "ss_ema_step",
    "every": "ss_ema_snapshots_every_n_steps",
}


def without_facts(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a file that is no snapshot."""
    return {field: text for field, text in metadata.items() if field not in _FIELDS.values()}


def snapshot_steps(every: int, last: int) -> list[int]:
    """Steps after which there are snapshots: every n-th, and the last."""
    return sorted({*range(every, last + 1, every), last})
