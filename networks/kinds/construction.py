"""From the arguments of --network_args to what the layers are made with."""

import math
from typing import Any

from networks.layers.dropouts import Dropouts
from networks.targeting.targets import LayerSize


def dropouts_of(arguments: Any) -> Dropouts:
    return Dropouts(
        neuron=arguments.dropout or 0.0,
        rank=arguments.rank_dropout or 0.0,
        module=arguments.module_dropout or 0.0,
        rank_is_scaled=arguments.rank_dropout_scale,
    )


def alpha_of(size: LayerSize, arguments: Any) -> float:
    """The alpha that is stored. Where the scale is  alpha / sqrt(rank)  (rsLoRA; Kalajdzievski 2023, arXiv 2312.03732),
    it is larger by sqrt(rank), so that whoever reads the file comes to that scale by  alpha / rank."""
    return size.alpha * math.sqrt(size.rank) if arguments.rs_lora else size.alpha
