"""Each rule about options that depend on each other, with values that trigger it and values that do not."""

from tests.options.combination_cases import model, network, run, source

PROBLEMS = [*run.PROBLEMS, *source.PROBLEMS, *network.PROBLEMS, *model.PROBLEMS]
NOTICES = [*run.NOTICES, *source.NOTICES, *network.NOTICES, *model.NOTICES]
