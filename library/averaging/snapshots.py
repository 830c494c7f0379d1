"""The snapshots of a run, read back."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from library.averaging.snapshot_facts import FOLDER_ENDING, TRACKED_WIDTHS, SnapshotFacts, snapshot_steps
from library.errors import UserError
from library.wording import counted, listed
from networks.files.weights_file import read_network_metadata

_MOST_NAMES = 3
_SIZE_OF_LENGTH = 8


@dataclass(frozen=True)
class Snapshot:
    file: Path
    facts: SnapshotFacts
    metadata: dict[str, str]


def find_snapshots(folder: Path, step: int | None = None, may_lack_some: bool = False) -> list[Snapshot]:
    """All up to a step, the earliest first.

    Args:
        step: after which there must be snapshots; None = the last that there are.
        may_lack_some: whatever is there is taken.

    Raises:
        UserError: there are none, they are of several runs, or some are damaged or missing.
    """
    # names that begin with a dot are those of files that were not finished
    files = {file: _read(file) for file in sorted(folder.glob("[!.]*.safetensors"))}
    found = [snapshot for snapshot in files.values() if snapshot is not None]
    if not found:
        raise UserError(f"'{folder}' holds no snapshots; {_where_they_are(folder)}")
    others = [f"'{file}'" for file, snapshot in files.items() if snapshot is None]
    if others:
        what = "is no snapshot of averaged weights; move it" if len(others) == 1 else "are no snapshots; move them"
        raise UserError(f"{listed(others, _MOST_NAMES)} {what} out of the folder")
    _require_one_run(folder, found)
    steps = sorted({snapshot.facts.step for snapshot in found})
    if step is not None and step not in steps:
        raise UserError(f"--step {step}: there is no snapshot of it; there are those of {_steps(steps)}")
    used = [snapshot for snapshot in found if step is None or snapshot.facts.step <= step]
    if not may_lack_some:
        _require_all(folder, used)
    for snapshot in used:
        _require_undamaged(snapshot)
    return sorted(used, key=lambda snapshot: (snapshot.facts.step, snapshot.facts.width))


def _read(file: Path) -> Snapshot | None:
    metadata = read_network_metadata(file)
    facts = SnapshotFacts.of_metadata(metadata)
    return None if facts is None else Snapshot(file, facts, metadata)


def _where_they_are(folder: Path) -> str:
    inside = [f"'{path}'" for path in sorted(folder.glob(f"*{FOLDER_ENDING}")) if path.is_dir()]
    if inside:
        return f"did you mean {listed(inside, _MOST_NAMES)}?"
    return "training writes them with --ema_snapshots_every_n_steps"


def _require_one_run(folder: Path, found: Sequence[Snapshot]) -> None:
    of_runs = {snapshot.facts.run: snapshot.file.name for snapshot in found}
    if len(of_runs) > 1:
        examples = listed(list(of_runs.values()), _MOST_NAMES)
        raise UserError(
            f"'{folder}' holds snapshots of {len(of_runs)} runs, such as {examples}; give each run a folder of its own"
        )


def _require_all(folder: Path, found: Sequence[Snapshot]) -> None:
    last = max(found, key=lambda snapshot: snapshot.facts.step).facts
    there = {(snapshot.facts.step, snapshot.facts.width) for snapshot in found}
    missing = [
        f"sigma_rel {width:g} of step {step}"
        for step in snapshot_steps(last.every, last.step)
        for width in TRACKED_WIDTHS
        if (step, width) not in there
    ]
    if missing:
        raise UserError(
            f"'{folder}' lacks {counted(len(missing), 'snapshot')}: {listed(missing, _MOST_NAMES)}; "
            "with --allow_missing, the others are used, and the error that is shown tells how well that does"
        )


def _require_undamaged(snapshot: Snapshot) -> None:
    expected = snapshot.metadata.get("sshs_model_hash")  # networks of others need not have it
    if expected is not None and expected != _hash_of_tensors(snapshot.file):
        raise UserError(f"'{snapshot.file}' is damaged: its tensors are not those that were saved; remove it")


def _hash_of_tensors(file: Path) -> str:
    """Of everything after the header; see networks.files.weights_file.network_hashes."""
    with open(file, "rb") as content:
        header = int.from_bytes(content.read(_SIZE_OF_LENGTH), "little")
        content.seek(_SIZE_OF_LENGTH + header)
        return hashlib.file_digest(content, "sha256").hexdigest()


def _steps(steps: Sequence[int]) -> str:
    if len(steps) <= 2 * _MOST_NAMES:
        return f"step {', '.join(map(str, steps))}"
    return f"step {', '.join(map(str, steps[:_MOST_NAMES]))}, ..., {steps[-1]}"
