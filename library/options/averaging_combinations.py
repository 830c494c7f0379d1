"""Rules about options of averaged weights that depend on each other."""

from collections.abc import Iterator

from library.options.chosen_optimizer import ChosenOptimizer
from library.options.findings import Finding, Given, Notice, Problem
from library.options.schema import Settings


def _averaging(settings: Settings, given: Given) -> Iterator[Finding]:
    averaging = settings.averaging
    if "ema_device" in given and not averaging.is_used:
        yield Notice("--ema_device has no effect without --ema_decay or --ema_snapshots_every_n_steps")
    if averaging.sample_with_ema and averaging.ema_decay is None:
        yield Problem("--sample_with_ema needs --ema_decay: the average that previews are drawn with")
    elif averaging.sample_with_ema and settings.sampling.sample_prompts is None:
        yield Notice("--sample_with_ema has no effect without --sample_prompts")


def _averages_of_averages(settings: Settings, given: Given) -> Iterator[Finding]:
    """What a schedule-free optimizer trains with are points between its averages and its steps, which are never saved:
    averages of these are of no use."""
    chosen = ChosenOptimizer(settings.optimizer)
    if not chosen.is_schedule_free:
        return
    for option in ("ema_decay", "ema_snapshots_every_n_steps"):
        value = getattr(settings.averaging, option)
        if value is not None:
            yield Problem(
                f"--{option} {value}: the optimizer {chosen.name} is schedule-free, which averages the weights itself, "
                f"and its average is what is saved; leave out --{option}, or use another optimizer"
            )


AVERAGING_RULES = (_averaging, _averages_of_averages)
