"""LoRA: low-rank changes of linear layers and 1x1 convolutions (Hu et al. 2021, arXiv 2106.09685)."""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from networks.adapted_layer import AdaptedLayer
from networks.arguments import DEFAULT_RANK, parse_lora_arguments
from networks.layer_network import LayerNetwork, discover, ranks_from_weights
from networks.targets import Target
from networks.weights_file import read_network_file


class LoRALayer(AdaptedLayer):
    """delta W = alpha / rank * up @ down; `up` starts at zero, so that training starts from the base model."""

    def __init__(
        self,
        name: str,
        layer: nn.Linear | nn.Conv2d,
        rank: int,
        alpha: float | None = None,
        multiplier: float = 1.0,
        dropout: float | None = None,
    ):
        super().__init__(name, layer, rank, alpha, multiplier)
        self.dropout = dropout
        if isinstance(layer, nn.Conv2d):
            self.lora_down: nn.Module = nn.Conv2d(
                layer.in_channels, rank, layer.kernel_size, layer.stride, layer.padding, bias=False
            )
            self.lora_up: nn.Module = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        else:
            self.lora_down = nn.Linear(layer.in_features, rank, bias=False)
            self.lora_up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.kaiming_uniform_(self.lora_down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_up.weight)

    def delta_weight(self) -> torch.Tensor:
        down, up = self.lora_down.weight, self.lora_up.weight
        return self.scale * (up.flatten(1) @ down.flatten(1)).view(self.layer.weight.shape)

    def change(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.lora_down(x)
        if self.dropout:
            inner = functional.dropout(inner, self.dropout, self.training)
        return self.lora_up(inner * self.scale)  # scaled while it is only `rank` wide


def create_network(
    multiplier: float,
    network_dim: int | None,
    network_alpha: float | None,
    vae: Any,
    text_encoder: Any,
    unet: nn.Module,
    neuron_dropout: float | None = None,
    **arguments: str | None,
) -> LayerNetwork:
    """A new network for a model; see contract.py.

    Args:
        network_dim: rank; None = 4.
        network_alpha: None or 0 = rank.
        neuron_dropout: probability that a value between `down` and `up` is dropped in training.
        arguments: the rest of --network_args; all values are texts.

    Raises:
        UserError: an argument is unknown or not available yet.
    """
    dropout = parse_lora_arguments({"dropout": neuron_dropout} | arguments).dropout
    rank = network_dim or DEFAULT_RANK

    def build(target: Target) -> LoRALayer:
        return LoRALayer(target.name, target.layer, rank, network_alpha, multiplier, dropout)

    return LayerNetwork(discover(text_encoder, unet), build)


def create_network_from_weights(
    multiplier: float,
    file: str | None,
    vae: Any,
    text_encoder: Any,
    unet: nn.Module,
    weights_sd: dict[str, torch.Tensor] | None = None,
    for_inference: bool = False,
    **arguments: str | None,
) -> tuple[LayerNetwork, dict[str, torch.Tensor]]:
    """A network with the layers, ranks and alphas of a file (or of its tensors); and those tensors.

    The weights themselves are loaded by the network's load_weights, after it was applied.
    """
    weights = weights_sd if weights_sd is not None else read_network_file(str(file))
    dropout = parse_lora_arguments(arguments).dropout
    ranks = ranks_from_weights(weights)

    def build(target: Target) -> LoRALayer | None:
        if target.name not in ranks:
            return None
        rank, alpha = ranks[target.name]
        return LoRALayer(target.name, target.layer, rank, alpha, multiplier, dropout)

    return LayerNetwork(discover(text_encoder, unet), build), weights
