"""Creates the network of a kind: the two functions that every network module offers."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from library.errors import UserError
from library.wording import listed
from networks.arguments import DEFAULT_RANK, NetworkArguments, check_arguments, parse_arguments
from networks.arguments.block_lists import block_rate_factors
from networks.arguments.kinds import RatioArguments
from networks.files.key_dialects import to_own_names
from networks.kinds.catalogue import OF_MODULE, recognise, tensors_by_layer
from networks.kinds.construction import dropouts_of
from networks.kinds.norm import NormLayer, is_norm
from networks.layers.adapted_layer import AdaptedLayer, Tensors
from networks.network.chosen_layers import selection_of
from networks.network.layer_network import LayerNetwork
from networks.network.layer_sizes import pattern_rate, plan_sizes, useless_ranks
from networks.network.loading import read_in_own_names
from networks.network.optimizer_groups import RateRules
from networks.targeting.targets import DiscoveredTargets, Target, find_all, find_targets

logger = logging.getLogger(__name__)

_EXAMPLES = 3


@dataclass(frozen=True)
class NetworkModule:
    """The functions of a network module of ours; see contract.py.

    Attributes:
        path: what --network_module names.
    """

    path: str

    def create_network(
        self,
        multiplier: float,
        network_dim: int | None,
        network_alpha: float | None,
        vae: Any,
        text_encoder: Any,
        unet: nn.Module,
        neuron_dropout: float | None = None,
        **arguments: str | None,
    ) -> LayerNetwork:
        """A new network for a model.

        Args:
            network_dim: rank; None = 4.
            network_alpha: None or 0 = rank.
            neuron_dropout: probability that a value inside the network is dropped in training.
            arguments: the rest of --network_args; all values are texts.

        Raises:
            UserError: an argument is unknown, has an impossible value, or matches nothing.
        """
        given = {"dropout": neuron_dropout} | arguments
        check_arguments(self.path, given, network_dim)
        parsed = parse_arguments(self.path, given)
        targets = find_targets(text_encoder, unet, selection_of(parsed))
        sizes = plan_sizes(targets, network_dim or DEFAULT_RANK, network_alpha or 0.0, parsed)
        kind: Any = OF_MODULE[self.path]
        of_kind = [(target, sizes[target.name]) for target in targets if target.name in sizes and not _is_norm(target)]
        kind.check_sizes(of_kind, parsed)
        if parsed.GROWS_WITH_RANK:
            for notice in useless_ranks(of_kind):
                logger.warning(notice)

        def build(target: Target) -> AdaptedLayer:
            made = NormLayer if _is_norm(target) else kind
            return made.build(target, sizes[target.name], parsed, multiplier)

        layers = _build_each([target for target in targets if target.name in sizes], build)
        return LayerNetwork(
            [layers[target.name] for target in targets.text_encoder if target.name in layers],
            [layers[target.name] for target in targets.unet if target.name in layers],
            _rate_rules(parsed, targets),
            parsed.verbose,
        )

    def create_network_from_weights(
        self,
        multiplier: float,
        file: str | None,
        vae: Any,
        text_encoder: Any,
        unet: nn.Module,
        weights_sd: dict[str, torch.Tensor] | None = None,
        for_inference: bool = False,
        **arguments: str | None,
    ) -> tuple[LayerNetwork, dict[str, torch.Tensor]]:
        """A network with the layers, kinds, ranks and alphas of a file (or of its tensors); and those tensors.

        The layers hold the file's weights already.

        Raises:
            UserError: the file cannot be read, or nothing in it belongs to the model.
        """
        parsed = parse_arguments(self.path, arguments)
        everything = find_all(text_encoder, unet)
        targets = {target.name: target for target in everything}
        if weights_sd is not None:
            weights, _ = to_own_names(weights_sd, targets)
        else:
            weights = read_in_own_names(str(file), targets)
        made: dict[str, list[AdaptedLayer]] = {"text_encoder": [], "unet": []}
        in_file = tensors_by_layer(weights)
        for name, target in targets.items():
            kind = self._kind_of(in_file[name]) if name in in_file else None
            if kind is not None:
                made[target.part].append(_continued(kind, target, in_file[name], multiplier, parsed, file))
        if not any(made.values()):
            raise UserError(f"network file '{file}': none of its {len(in_file)} layers belongs to this model")
        rules = _rate_rules(parsed, everything)
        return LayerNetwork(made["text_encoder"], made["unet"], rules, parsed.verbose), weights

    def _kind_of(self, tensors: Tensors) -> type[AdaptedLayer] | None:
        """Of a file's tensors of one layer. Several kinds may have the same files; this module's comes first."""
        own = OF_MODULE[self.path]
        return own if own.recognises(tensors) else recognise(tensors)


def _continued(
    kind: type[AdaptedLayer],
    target: Target,
    tensors: Tensors,
    multiplier: float,
    arguments: NetworkArguments,
    file: str | None,
) -> AdaptedLayer:
    try:
        layer = kind.from_tensors(target.name, target.layer, tensors, multiplier)
        layer.dropouts = dropouts_of(arguments)
        layer.continue_with(arguments)
    except UserError as error:
        raise UserError(f"network file '{file}' does not fit this model: {error.problems[0]}") from None
    return layer


def _build_each(targets: Sequence[Target], build: Callable[[Target], AdaptedLayer]) -> dict[str, AdaptedLayer]:
    """
    Raises:
        UserError: some cannot be built; each reason is given once, with the layers it holds for.
    """
    layers, failed = {}, defaultdict[str, list[str]](list)
    for target in targets:
        try:
            layers[target.name] = build(target)
        except UserError as error:
            for problem in error.problems:
                failed[problem].append(target.name)
    if failed:
        raise UserError([f"{problem} ({listed(names, _EXAMPLES)})" for problem, names in failed.items()])
    return layers


def _rate_rules(arguments: NetworkArguments, targets: DiscoveredTargets) -> RateRules:
    unet_ratio, text_encoder_ratio = _plus_ratios(arguments)
    rates = {target.name: pattern_rate(arguments, target) for target in targets}
    return RateRules(
        unet_plus_ratio=unet_ratio,
        text_encoder_plus_ratio=text_encoder_ratio,
        block_factors=block_rate_factors(arguments, targets.block_count),
        blocks={target.name: target.block for target in targets.unet if target.block is not None},
        layer_rates={name: rate for name, rate in rates.items() if rate is not None},
    )


def _plus_ratios(arguments: NetworkArguments) -> tuple[float | None, float | None]:
    """LoRA+: of the U-Net and of the text encoders."""
    if not isinstance(arguments, RatioArguments):
        return None, None
    for_both = arguments.loraplus_lr_ratio
    return arguments.loraplus_unet_lr_ratio or for_both, arguments.loraplus_text_encoder_lr_ratio or for_both


def _is_norm(target: Target) -> bool:
    return is_norm(target.layer)
