"""Each rule about options that depend on each other, with values that trigger it and values that do not."""

from tests.options.combination_cases import (
    averaging,
    fused_backward,
    loss,
    model,
    network,
    noise,
    optimizer,
    run,
    schedule,
    source,
)

PROBLEMS = [
    *run.PROBLEMS,
    *schedule.PROBLEMS,
    *source.PROBLEMS,
    *network.PROBLEMS,
    *model.PROBLEMS,
    *averaging.PROBLEMS,
    *fused_backward.PROBLEMS,
    *loss.PROBLEMS,
    *noise.PROBLEMS,
    *optimizer.PROBLEMS,
]
NOTICES = [
    *run.NOTICES,
    *schedule.NOTICES,
    *source.NOTICES,
    *network.NOTICES,
    *model.NOTICES,
    *averaging.NOTICES,
    *loss.NOTICES,
    *noise.NOTICES,
    *optimizer.NOTICES,
]
