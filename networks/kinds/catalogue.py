"""All kinds: which one a network module makes, and which one a file's tensors are of."""

from collections.abc import Mapping

import torch

from networks.kinds.boft import BOFTLayer
from networks.kinds.dylora import DyLoRALayer
from networks.kinds.full import FullLayer
from networks.kinds.glora import GLoRALayer
from networks.kinds.ia3 import IA3Layer
from networks.kinds.loha import LoHaLayer
from networks.kinds.lokr import LoKrLayer
from networks.kinds.lora import LoRALayer
from networks.kinds.lora_fa import LoRAFALayer
from networks.kinds.norm import NormLayer
from networks.kinds.oft import OFTLayer
from networks.layers.adapted_layer import AdaptedLayer, Tensors

OF_MODULE: Mapping[str, type[AdaptedLayer]] = {
    "networks.lora": LoRALayer,
    "networks.locon": LoRALayer,
    "networks.dora": LoRALayer,
    "networks.dylora": DyLoRALayer,
    "networks.lora_fa": LoRAFALayer,
    "networks.loha": LoHaLayer,
    "networks.lokr": LoKrLayer,
    "networks.glora": GLoRALayer,
    "networks.ia3": IA3Layer,
    "networks.oft": OFTLayer,
    "networks.boft": BOFTLayer,
    "networks.full": FullLayer,
}
"""Network module -> its layers."""

KINDS: tuple[type[AdaptedLayer], ...] = (
    LoRALayer,
    IA3Layer,
    OFTLayer,
    BOFTLayer,
    FullLayer,
    NormLayer,
    LoHaLayer,
    LoKrLayer,
    GLoRALayer,
)
"""In the order in which a file's tensors are tried."""


def recognise(tensors: Tensors) -> type[AdaptedLayer] | None:
    """The kind of a file's tensors of one layer, or None."""
    return next((kind for kind in KINDS if kind.recognises(tensors)), None)


def tensors_by_layer(weights: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """Layer name -> suffix -> tensor, in the file's order."""
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in weights.items():
        name, _, suffix = key.partition(".")
        layers.setdefault(name, {})[suffix] = tensor
    return layers
