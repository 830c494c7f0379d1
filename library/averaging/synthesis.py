"""A network file with an average that was never kept in training, from snapshots of others.

Arithmetic is that of files: where their tensors are the trained weights themselves, or linear in them, the result is
the average that training would have kept; docs/averaging.md names the exceptions.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import safe_open

from library.averaging.power_profiles import Combination, Profile, nearest_combination
from library.averaging.snapshot_facts import (
    TRACKED_WIDTHS,
    UPDATES_FIELD,
    WIDTH_FIELD,
    snapshot_steps,
    without_facts,
)
from library.averaging.snapshots import Snapshot
from library.errors import UserError

MOST_SNAPSHOTS = 100
"""Of each width in a run, where more are out of proportion."""


@dataclass(frozen=True)
class Synthesis:
    tensors: dict[str, torch.Tensor]
    """in the precision of the snapshots"""
    metadata: dict[str, str]
    combination: Combination


def synthesise(snapshots: Sequence[Snapshot], width: float) -> Synthesis:
    """The average with a profile of a relative width that ends with the last of the snapshots.

    Args:
        snapshots: of one run, the last one last.
        width: sigma_rel.

    Raises:
        UserError: the width is impossible, the snapshots are not of one network, or all steps were skipped.
    """
    snapshots = _different(snapshots)
    last = snapshots[-1]
    wanted = Profile(width, float(last.facts.updates))
    combination = nearest_combination([snapshot.facts.profile for snapshot in snapshots], wanted)
    metadata = without_facts(last.metadata)
    metadata.pop("modelspec.hash_sha256", None)  # of other tensors
    metadata |= {
        WIDTH_FIELD: f"{width:g}",
        UPDATES_FIELD: str(last.facts.updates),
        "ss_ema_synthesized_from": f"{len(snapshots)} snapshots; error of the profile {combination.error:.2g}",
    }
    return Synthesis(combine_tensors(snapshots, combination.coefficients), metadata, combination)


def sufficient_spacing(width: float, steps: int, error: float) -> int | None:
    """About the most steps between snapshots with which the average over a run of some steps comes within an error.

    Returns:
        None = no spacing does that with at most `MOST_SNAPSHOTS`.
    """
    wanted = Profile(width, float(steps))
    spacings = dict.fromkeys(steps // count for count in range(1, min(steps, MOST_SNAPSHOTS) + 1))
    for every in spacings:
        tracked = [Profile(one, float(end)) for end in snapshot_steps(every, steps) for one in TRACKED_WIDTHS]
        if nearest_combination(tracked, wanted).error <= error:
            return every
    return None


def _different(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Those that hold an average, each once. A snapshot before which fp16 skipped all steps holds none; two between
    which it skipped all are the same.

    Raises:
        UserError: there are none.
    """
    different = {snapshot.facts.profile: snapshot for snapshot in snapshots if snapshot.facts.updates}
    if not different:
        step = snapshots[-1].facts.step
        raise UserError(f"the snapshots up to step {step} hold no averages: all steps before were skipped")
    return list(different.values())


def combine_tensors(snapshots: Sequence[Snapshot], coefficients: Sequence[float]) -> dict[str, torch.Tensor]:
    """Weighted sums in float64, rounded once. What is the same in all snapshots, such as alphas, is taken over.

    Raises:
        UserError: the snapshots are not of one network.
    """
    with ExitStack() as opened:
        files: list[Any] = [opened.enter_context(safe_open(one.file, framework="pt")) for one in snapshots]
        names = list(files[-1].keys())
        for snapshot, file in zip(snapshots, files, strict=True):
            if set(file.keys()) != set(names):
                raise UserError(f"'{snapshot.file}' and '{snapshots[-1].file}' hold tensors of different names")
        return {name: _combined(name, [file.get_tensor(name) for file in files], coefficients) for name in names}


def _combined(name: str, values: Sequence[torch.Tensor], coefficients: Sequence[float]) -> torch.Tensor:
    last = values[-1]
    if any(value.shape != last.shape or value.dtype != last.dtype for value in values):
        raise UserError(f"the snapshots differ in the shape or precision of {name}: they are not of one network")
    if all(torch.equal(value, last) for value in values):
        return last
    if not last.is_floating_point():
        raise UserError(f"{name} holds whole numbers that change during training, which cannot be averaged")
    used = [(factor, value) for factor, value in zip(coefficients, values, strict=True) if factor]
    total = torch.zeros(last.shape, dtype=torch.float64)
    for factor, value in used:
        total += factor * value.double()
    return total.to(last.dtype)
