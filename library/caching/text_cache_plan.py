"""How many captions of a run are encoded beforehand: all that it uses, or as many as the budget holds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from library.dataset.batch_plan import PlannedBatch
from library.dataset.captions.exposed_captions import ExposedCaptions

_GIB = 2**30


@dataclass(frozen=True)
class TextCachePlan:
    captions: tuple[str, ...]
    """Every distinct caption of the run, in the order of first use."""
    exposed: ExposedCaptions
    """Which of them each exposure gets."""
    report: str
    """One line for the user."""


def plan_text_cache(
    batches: Sequence[PlannedBatch], exposed: ExposedCaptions, bytes_each: int, budget: float
) -> TextCachePlan:
    """
    Args:
        batches: of the whole run and of all processes, also when it is resumed: the variants must not depend on
            how the work is divided.
        exposed: without a limit of variants.
        bytes_each: of one caption's outputs.
        budget: GiB.
    """
    wanted = exposed.of_run(batches)
    room = captions_within(budget, bytes_each)
    if len(wanted) <= room:
        report = f"{len(wanted)} distinct captions in this run, all encoded once ({_size(len(wanted), bytes_each)})"
        return TextCachePlan(tuple(wanted), exposed, report)
    limited = exposed.limited_to(room, batches)
    captions = limited.of_run(batches)
    report = _report(len(wanted), len(captions), room, limited.variants, bytes_each, budget)
    return TextCachePlan(tuple(captions), limited, report)


def captions_within(budget: float, bytes_each: int) -> int:
    """How many captions a budget in GiB holds."""
    return int(budget * _GIB // bytes_each)


def budget_for(captions: int, bytes_each: int) -> float:
    """The smallest budget in GiB, in steps of 0.01, that holds so many captions."""
    return math.ceil(captions * bytes_each * 100 / _GIB) / 100


def _report(wanted: int, used: int, room: int, variants: int | None, bytes_each: int, budget: float) -> str:
    turns = "1 caption variant" if variants == 1 else f"{variants} caption variants in turn"
    excess = ", which is still more than that" if used > room else ""
    return (
        f"this run would use {wanted} distinct captions, and --text_encoder_cache_budget {budget:g} holds {room}: each "
        f"image uses {turns} ({used} captions, {_size(used, bytes_each)}{excess}); "
        f"raise --text_encoder_cache_budget to {budget_for(wanted, bytes_each):g} for all"
    )


def _size(captions: int, bytes_each: int) -> str:
    size = captions * bytes_each
    return f"{size / _GIB:.2f} GiB" if size >= _GIB else f"{size / 2**20:.1f} MiB"
