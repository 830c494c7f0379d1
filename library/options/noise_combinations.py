"""Rules about options of noise and timesteps that depend on each other."""

from collections.abc import Iterator

from library.options.findings import Finding, Given, Problem
from library.options.schema import Settings


def _timesteps(settings: Settings, given: Given) -> Iterator[Finding]:
    timesteps = settings.timesteps
    low, high = timesteps.min_timestep or 0, timesteps.max_timestep or 1000
    if low >= high:
        yield Problem(f"--min_timestep {low} must be below --max_timestep {high}")


NOISE_RULES = (_timesteps,)
