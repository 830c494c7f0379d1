"""Which layers of a model a network adapts, and the names they have in files."""

from collections.abc import Collection
from dataclasses import dataclass

from torch import nn

UNET_PREFIX = "lora_unet"
TEXT_ENCODER_PREFIX = "lora_te"

UNET_CLASSES = frozenset({"Transformer2DModel"})
TEXT_ENCODER_CLASSES = frozenset({"CLIPAttention", "CLIPSdpaAttention", "CLIPMLP"})


@dataclass(frozen=True)
class Target:
    """A layer to adapt. `name` is what its tensors' names in a file begin with; it contains no dot."""

    name: str
    layer: nn.Linear | nn.Conv2d


def text_encoder_prefixes(count: int) -> list[str]:
    """lora_te for a single text encoder, lora_te1, lora_te2, ... for several."""
    if count == 1:
        return [TEXT_ENCODER_PREFIX]
    return [f"{TEXT_ENCODER_PREFIX}{number}" for number in range(1, count + 1)]


def find_targets(root: nn.Module, prefix: str, classes: Collection[str]) -> list[Target]:
    """Linear layers and 1x1 convolutions inside modules of the given classes, in module order."""
    targets = []
    for path, module in root.named_modules():
        if type(module).__name__ not in classes:
            continue
        for inner_path, layer in module.named_modules():
            if type(layer) is nn.Linear or (type(layer) is nn.Conv2d and layer.kernel_size == (1, 1)):
                targets.append(Target(".".join((prefix, path, inner_path)).replace(".", "_"), layer))
    return targets
