"""Rules about options of the network: what is trained, and the files that it starts from."""

from collections.abc import Iterator

from library.options.findings import Finding, Given, Notice, Problem
from library.options.model_combinations import OWN_NETWORKS
from library.options.part_rates import part_rates
from library.options.schema import Settings


def _parts(settings: Settings, given: Given) -> Iterator[Finding]:
    network, rates = settings.network, settings.optimizer
    if network.network_train_unet_only and network.network_train_text_encoder_only:
        yield Problem(
            "--network_train_unet_only and --network_train_text_encoder_only exclude each other; "
            "leave both out to train both parts"
        )
    elif all(rates_of_part.is_off for rates_of_part in part_rates(network, rates)):
        yield Problem("nothing would be trained: the learning rate of every part is 0; raise --learning_rate")
    if network.network_train_unet_only and "text_encoder_lr" in given:
        yield Notice("--text_encoder_lr has no effect with --network_train_unet_only")
    if network.network_train_text_encoder_only and "unet_lr" in given:
        yield Notice("--unet_lr has no effect with --network_train_text_encoder_only")
    names = [pair.split("=", 1)[0] for pair in network.network_args or ()]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(f"--network_args: {name} is given twice; leave one out")
    if "dropout" in names and "network_dropout" in given:
        yield Notice("--network_dropout has no effect, since --network_args has a dropout of its own")
    if any(rate < 0 for rate in rates.text_encoder_lr or ()):
        yield Problem("--text_encoder_lr: must be at least 0")


def _start(settings: Settings, given: Given) -> Iterator[Finding]:
    network = settings.network
    if network.dim_from_weights and not network.network_weights:
        yield Problem("--dim_from_weights needs --network_weights: the file that the ranks and alphas are taken from")
    elif network.dim_from_weights:
        for name in sorted(given & {"network_dim", "network_alpha"}):
            yield Notice(f"--{name} has no effect with --dim_from_weights: each layer has the file's rank and alpha")
    elif network.network_weights and "network_alpha" in given and network.network_module in OWN_NETWORKS:
        yield Notice("--network_alpha has no effect on layers that --network_weights holds: the file's alpha counts")


def _base_weights(settings: Settings, given: Given) -> Iterator[Finding]:
    files = settings.network.base_weights or ()
    multipliers = settings.network.base_weights_multiplier or ()
    if len(multipliers) > len(files):
        yield Problem(
            f"--base_weights_multiplier {' '.join(f'{one:g}' for one in multipliers)}: there are more multipliers than "
            f"--base_weights ({len(files)}); leave out the rest"
        )
    for file, multiplier in zip(files, multipliers, strict=False):
        if multiplier == 0:
            yield Notice(f"--base_weights '{file}' has no effect, since its --base_weights_multiplier is 0")


NETWORK_RULES = (_parts, _start, _base_weights)
